"""`webdataset`: images in tar shards, as WebDataset writes them; the package itself is not needed."""

from __future__ import annotations

import glob
import itertools
import re
from pathlib import Path

import numpy as np

from vaebm_toolkit.builtin.data.files import from_files
from vaebm_toolkit.builtin.data.locate import existing, required
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.data.splitting import split_by_share
from vaebm_toolkit.builtin.data.tars import TarSource
from vaebm_toolkit.builtin.data.tree import TEST, TRAIN, Files
from vaebm_toolkit.builtin.datasets import WebDatasetOptions
from vaebm_toolkit.errors import DataError

BRACES = re.compile(r"\{([^{}]*)\}")
MOST = 1_000_000
"""Shards that one pattern may name."""


def build(options: WebDatasetOptions) -> ImageDataset:
    """Test split: `test_path`, else the folder test/ or val/ beside train/, else `test_share` of all."""
    path = required(options.path, "webdataset", "FOLDER_OR_PATTERN")
    test_path = options.test_path
    if Path(path).expanduser().is_dir():
        inside = {p.name.lower(): p for p in Path(path).expanduser().iterdir() if p.is_dir()}
        train = next((inside[name] for name in TRAIN if name in inside), None)
        test = next((inside[name] for name in TEST if name in inside), None)
        if train is not None and (test is not None or test_path is not None):
            path, test_path = str(train), test_path or str(test)
    sources = [TarSource(Path(p).expanduser(), shards(p)) for p in (path, test_path) if p is not None]
    labels = [source.labels for source in sources]
    width = max((len(str(y.max())) for y in labels if y is not None), default=1)
    files = [_files(source, width) for source in sources]
    if test_path is not None:
        return from_files(files[0], files[1], options)
    rows = split_by_share(files[0].names, options.test_share, path)
    return from_files(files[0].pick(rows[0]), files[0].pick(rows[1]), options)


def _files(source: TarSource, width: int) -> Files:
    """All images; a class is called by its number, with zeros before it, so that names sort as numbers do."""
    files = Files.all_of(source)
    if source.labels is None:
        return files
    numbers, codes = np.unique(source.labels, return_inverse=True)
    return Files(source, files.rows, codes, tuple(f"{n:0{width}}" for n in numbers.tolist()))


def shards(path: str) -> list[Path]:
    """The tars that a folder holds or a pattern names: *, ? and [] as in a shell, {a,b} and {000..009}.

    Of a pattern with braces every name must be there; a shard left out would go unnoticed.
    """
    if not (set(path) & set("*?[{")) or Path(path).expanduser().exists():
        found = existing(path, "a folder of tar shards, or one tar")
        if not found.is_dir():
            return [found]
        if not (tars := sorted(found.rglob("*.tar"))):
            raise DataError(
                f"The folder {found} holds no .tar.", "Name the shards: --dataset.path 'DIR/*.tar'"
            )
        return tars
    tars = []
    for name in expanded(str(Path(path).expanduser())):
        met = sorted(glob.glob(name, recursive=True))
        if not met:
            near = Path(name).parent
            there = sorted(p.name for p in near.glob("*.tar"))[:5] if near.is_dir() else []
            state = f"there are {', '.join(there)}" if there else f"{near} holds no .tar"
            raise DataError(
                f"Nothing matches {name}; {state if near.is_dir() else f'{near} does not exist'}.",
                "Quote the pattern, or the shell expands it: --dataset.path 'DIR/shard-{000..009}.tar'",
            )
        tars += [Path(m) for m in met]
    return list(dict.fromkeys(tars))


def expanded(pattern: str) -> list[str]:
    """What a pattern with braces stands for, as in bash: {000..002} keeps its zeros.

    >>> expanded("a-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar']
    >>> expanded("{train,more}-{0..1}.tar")
    ['train-0.tar', 'train-1.tar', 'more-0.tar', 'more-1.tar']
    """
    pieces = BRACES.split(pattern)  # text, inside of braces, text, …
    choices = [_choices(piece) if i % 2 else [piece] for i, piece in enumerate(pieces)]
    if np.prod([float(len(c)) for c in choices]) > MOST:
        raise DataError(f"{pattern} names more than {MOST:,} shards.", "Check the numbers in its braces.")
    return ["".join(parts) for parts in itertools.product(*choices)]


def _choices(inside: str) -> list[str]:
    if (span := re.fullmatch(r"(\d+)\.\.(\d+)", inside)) is None:
        return inside.split(",")
    first, last = span.groups()
    width = max(len(first), len(last)) if "0" in (first[0], last[0]) and len(first) == len(last) else 0
    if int(last) - int(first) >= MOST:
        raise DataError(f"{{{inside}}} names more than {MOST:,} shards.", "Check the numbers in its braces.")
    return [f"{n:0{width}}" for n in range(int(first), int(last) + 1)]
