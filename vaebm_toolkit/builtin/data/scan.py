"""One look at every file: which are bad, which sizes and colours there are, and their pixels."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

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


class Seen:
    """What the files turned out to be, summed up: as large for a million as for ten of one size."""

    def __init__(self) -> None:
        self.total = 0
        self.bad: list[tuple[str, str]] = []
        """(name, fault)"""
        self.shapes: set[tuple[int, ...]] = set()
        """(C, H, W) after the options"""
        self.sizes: dict[tuple[int, int], tuple[int, str]] = {}
        """stored (width, height) -> number of images, and the first of them"""

    def image(self, name: str, size: tuple[int, int], shape: tuple[int, ...]) -> None:
        self.total += 1
        self.shapes.add(shape)
        count, first = self.sizes.get(size, (0, name))
        self.sizes[size] = (count + 1, first)

    def fault(self, name: str, fault: str) -> None:
        self.total += 1
        self.bad.append((name, fault))

    def one_shape(self, where: str) -> tuple[int, ...]:
        """The (C, H, W) that holds every image: three channels if any has colour.

        Bad files and differing sizes end here, by name.
        """
        if self.bad:
            raise BadFiles(where, self.bad, self.total)
        if len({shape[1:] for shape in self.shapes}) > 1:
            raise self._sizes(where)
        return max(self.shapes)

    def _sizes(self, where: str) -> DataError:
        """The sizes found, how many images have each, and an example."""
        common = sorted(self.sizes.items(), key=lambda item: -item[1][0])
        lines = "".join(
            f"\n  {width} × {height}: {count} image{'s' if count > 1 else ''}, e.g. {first}"
            for (width, height), (count, first) in common[:SHOWN]
        )
        more = f"\n  and {len(common) - SHOWN} more sizes" if len(common) > SHOWN else ""
        smallest = min(min(size) for size in self.sizes)
        return DataError(
            f"The images in {where} have {len(common)} sizes (width × height):{lines}{more}",
            f"Bring them to one with --dataset.size N, e.g. --dataset.size {smallest}",
        )


def scan(
    parts: Iterable[Files],
    options: ImageOptions,
    box: Box | None,
    keep: Callable[[int, int, Tensor], None] | None = None,
) -> Seen:
    """Decode every file of the parts; `keep` is given (part, position in it, image (C, H, W))."""
    seen = Seen()
    for number, files in enumerate(parts):

        def look(i: int, number: int = number, files: Files = files) -> tuple[int, Any, Any]:
            try:
                image, size = decode(files.read(i), options, box)
            except MemoryError:
                raise
            except Exception as error:  # decoders raise nearly anything on damaged files
                return i, None, reason(error)
            if keep is not None:
                keep(number, i, image)
            return i, size, tuple(image.shape)

        looked = in_threads(look, range(len(files)))
        for i, size, found in _progress(looked, len(files), files.source.path.name):
            if size is None:
                seen.fault(files.name(i), found)
            else:
                seen.image(files.name(i), size, found)
    return seen


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
