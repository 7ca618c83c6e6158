"""What the folders of an image collection mean: splits, classes, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from vaebm_toolkit.builtin.data.sources import Source

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")


class Files(NamedTuple):
    """Some files of one source, and the class folder of each where there are class folders."""

    source: Source
    names: list[str]
    classes: list[str] | None

    def pick(self, rows: Sequence[int]) -> Files:
        classes = None if self.classes is None else [self.classes[i] for i in rows]
        return Files(self.source, [self.names[i] for i in rows], classes)


def splits_of(source: Source) -> tuple[Files, Files | None]:
    """All files as (train, None), or (train, test) where the top folders are train/ and test/ or val/.

    With test/ and val/ both, test/ is the test split and val/ is left out.
    """
    paths = _without_common_folder([PurePosixPath(name).parts for name in source.names])
    tops = {path[0] for path in paths if len(path) > 1}
    train = next((t for t in sorted(tops) if t.lower() in TRAIN), None)
    test = min((t for t in tops if t.lower() in TEST), key=lambda t: (TEST.index(t.lower()), t), default=None)
    known = {t for t in tops if t.lower() in TRAIN + TEST}
    if train is None or test is None or known != tops or any(len(path) == 1 for path in paths):
        return Files(source, source.names, _classes(paths)), None
    rows = {top: [i for i, path in enumerate(paths) if path[0] == top] for top in (train, test)}
    inner = _without_common_folder([path[1:] for path in paths])
    classes = _classes([inner[i] for top in (train, test) for i in rows[top]])
    both = [source.names[i] for top in (train, test) for i in rows[top]]
    cut = len(rows[train])
    files = Files(source, both, classes)
    return files.pick(range(cut)), files.pick(range(cut, len(both)))


def _classes(paths: Sequence[tuple[str, ...]]) -> list[str] | None:
    """The first folder of each, or None if some lie in no folder."""
    return [path[0] for path in paths] if all(len(path) > 1 for path in paths) else None


def _without_common_folder(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    while all(len(path) > 1 for path in paths) and len({path[0] for path in paths}) == 1:
        paths = [path[1:] for path in paths]
    return paths
