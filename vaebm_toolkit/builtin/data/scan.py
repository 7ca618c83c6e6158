"""One look at every file: which are bad, which sizes and colours there are, and their pixels."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import PIL
from torch import Tensor

from vaebm_toolkit.builtin.data.pixels import Box, decode
from vaebm_toolkit.builtin.data.tree import Files
from vaebm_toolkit.builtin.datasets import ImageOptions
from vaebm_toolkit.errors import DataError

A = TypeVar("A")
B = TypeVar("B")
SHOWN = 10


class BadFiles(DataError):
    """Files that cannot be decoded, as (name, reason): all of them, or the first that was met."""

    def __init__(self, where: str, files: list[tuple[str, str]], total: int, every: bool = True) -> None:
        self.where, self.files, self.total = where, files, total
        lines = "".join(f"\n  {name}: {fault}" for name, fault in files[:SHOWN])
        more = f"\n  and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        count = f"{len(files)} of {total} images" if every else f"At least {len(files)} of {total} images"
        super().__init__(
            f"{count} in {where} cannot be read:{lines}{more}",
            "Remove or replace them. `vaebm data check` with the same options lists all of them.",
        )


class Seen(NamedTuple):
    """What one file turned out to be."""

    name: str
    size: tuple[int, int]  # stored (width, height)
    shape: tuple[int, ...]  # (C, H, W) after the options
    fault: str


def scan(
    files: Files, options: ImageOptions, box: Box | None, keep: Callable[[int, Tensor], None] | None
) -> list[Seen]:
    """Decode every file; `keep` is given each row and its image (C, H, W)."""

    def look(row: int) -> Seen:
        name = files.names[row]
        try:
            image, size = decode(files.source.read(name), options, box)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise nearly anything on damaged files
            return Seen(name, (0, 0), (0, 0, 0), reason(error))
        if keep is not None:
            keep(row, image)
        return Seen(name, size, tuple(image.shape), "")

    return list(
        _progress(in_threads(look, range(len(files.names))), len(files.names), files.source.path.name)
    )


def one_shape(seen: Sequence[Seen], where: str) -> tuple[int, ...]:
    """The (C, H, W) that holds every image: three channels if any has colour.

    Bad files and differing sizes end here, by name.
    """
    bad = [(s.name, s.fault) for s in seen if s.fault]
    if bad:
        raise BadFiles(where, bad, len(seen))
    if len({s.shape[1:] for s in seen}) > 1:
        raise _sizes(seen, where)
    return max(s.shape for s in seen)


def _sizes(seen: Sequence[Seen], where: str) -> DataError:
    """The sizes found, how many images have each, and an example."""
    examples: dict[tuple[int, int], list[str]] = {}
    for s in seen:
        examples.setdefault(s.size, []).append(s.name)
    common = sorted(examples.items(), key=lambda item: -len(item[1]))
    lines = "".join(
        f"\n  {width} × {height}: {len(names)} image{'s' if len(names) > 1 else ''}, e.g. {names[0]}"
        for (width, height), names in common[:SHOWN]
    )
    more = f"\n  and {len(common) - SHOWN} more sizes" if len(common) > SHOWN else ""
    return DataError(
        f"The images in {where} have {len(common)} sizes (width × height):{lines}{more}",
        f"Bring them to one with --dataset.size N, e.g. --dataset.size {min(min(size) for size in examples)}",
    )


def reason(error: Exception) -> str:
    """Why a file cannot be decoded, in a few words."""
    if isinstance(error, PIL.UnidentifiedImageError):
        return "not an image in any known format, or an empty file"
    return str(error).strip().rstrip(".") or type(error).__name__


def in_threads(function: Callable[[A], B], items: Sequence[A], chunk: int = 64) -> Iterator[B]:
    """`map` on as many threads as cores, in chunks: decoders release the interpreter lock."""
    chunk = min(chunk, -(-len(items) // cores())) or 1
    parts = [items[i : i + chunk] for i in range(0, len(items), chunk)]
    with ThreadPoolExecutor(cores()) as pool:
        for results in pool.map(lambda part: [function(item) for item in part], parts):
            yield from results


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _progress(items: Iterator[B], total: int, name: str) -> Iterator[B]:
    """A bar on a terminal where reading takes long."""
    if total < 20_000 or not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return iter(track(items, f"reading {name}", total, console=Console(stderr=True), transient=True))
