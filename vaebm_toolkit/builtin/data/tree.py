"""What the folders of an image collection mean: splits, classes, or nothing."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, NamedTuple

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from vaebm_toolkit.builtin.data.names import Names, encoded
from vaebm_toolkit.builtin.data.sources import Source

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")


@frozen(eq=False)
class Files:
    """Some files of one source, and the class of each where there are classes."""

    source: Source
    rows: NDArray[np.int64]
    """(N,) which of the source's files"""
    codes: NDArray[np.int64] | None = None
    """(N,) position in `classes` of each file's class"""
    classes: tuple[str, ...] = ()

    @classmethod
    def all_of(cls, source: Source) -> Files:
        return cls(source, np.arange(len(source.names)))

    @property
    def names(self) -> Names:
        return self.source.names.take(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, chosen: Any) -> Files:
        """The files at these positions, (n,) int64 or a slice."""
        codes = None if self.codes is None else self.codes[chosen]
        return evolve(self, rows=self.rows[chosen], codes=codes)

    def name(self, i: int) -> str:
        return self.source.names[int(self.rows[i])]

    def read(self, i: int) -> bytes:
        return self.source.read(int(self.rows[i]))


class Run(NamedTuple):
    """Names that follow each other and lie in one folder: sorted names of a folder always do."""

    folder: str
    """from the top, with a "/" at its end"""
    begin: int
    end: int

    @property
    def name(self) -> str:
        """The last part of `folder`."""
        return self.folder[:-1].rpartition("/")[2]


def splits_of(source: Source) -> tuple[Files, Files | None]:
    """All files as (train, None), or (train, test) where the top folders are train/ and test/ or val/.

    With test/ and val/ both, test/ is the test split and val/ is left out. The source's names must be
    sorted: then a few of them tell where each folder begins and ends.
    """
    names = source.names
    whole = Run("", 0, len(names))
    tops = _runs(names, whole._replace(folder=_common(names, [whole])))
    known = {run.name.lower() for run in tops or ()} - {*TRAIN, *TEST}
    train = min((run for run in tops or () if run.name.lower() in TRAIN), default=None)
    tests = [run for run in tops or () if run.name.lower() in TEST]
    if tops is None or train is None or not tests or known:
        return _files(source, whole, tops), None
    below = _common(names, tops)
    test = min(tests, key=lambda run: (TEST.index(run.name.lower()), run.name))
    runs = [_runs(names, run._replace(folder=run.folder + below)) for run in (train, test)]
    if None in runs:  # some images lie in no class folder
        return _files(source, train, None), _files(source, test, None)
    return _files(source, train, runs[0]), _files(source, test, runs[1])


def _files(source: Source, run: Run, runs: list[Run] | None) -> Files:
    """The files of `run`; `runs` are its class folders."""
    rows = np.arange(run.begin, run.end)
    if runs is None:
        return Files(source, rows)
    classes = tuple(sorted({r.name for r in runs}))
    codes = np.repeat([classes.index(r.name) for r in runs], [r.end - r.begin for r in runs])
    return Files(source, rows, codes, classes)


def _common(names: Names, runs: list[Run]) -> str:
    """The folders that all names of the runs have in common, below those of the runs themselves.

    What the first and the last of sorted names begin with, all between them begin with.
    """
    ends = [names[i][len(run.folder) :] for run in runs for i in (run.begin, run.end - 1)]
    shared = ""
    for levels in zip(*(end.split("/")[:-1] for end in ends), strict=False):
        if len(set(levels)) > 1:
            break
        shared += f"{levels[0]}/"
    return shared


def _runs(names: Names, run: Run) -> list[Run] | None:
    """The folders right below run.folder; None if some of its names lie in none."""
    found, at = [], run.begin
    while at < run.end:
        head, slash, _ = names[at][len(run.folder) :].partition("/")
        if not slash:
            return None
        folder = f"{run.folder}{head}/"
        beyond = encoded(folder)[:-1] + b"0"  # the letter after "/"
        end = bisect_left(range(len(names)), beyond, at, run.end, key=names.raw)
        found.append(Run(folder, at, end))
        at = end
    return found
