"""Two sets of examples compared: images in folders, zips and npz files, from whatever model they are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from vaebm_toolkit.builtin.data.whole import images as images
from vaebm_toolkit.core import Dataset, SampleStream, Split
from vaebm_toolkit.errors import DataError
from vaebm_toolkit.evaluation.records import Record
from vaebm_toolkit.measuring import against, measure, noting
from vaebm_toolkit.recipe import Recipe


class SplitStream(SampleStream):
    """The examples of a split, read batch by batch."""

    def __init__(self, split: Split, batch_size: int, count: int | None = None) -> None:
        super().__init__((), len(split) if count is None else min(count, len(split)))
        self.split, self.batch_size = split, batch_size

    def __iter__(self) -> Iterator[Tensor]:
        return (self.split.batch(index) for index in torch.arange(self.count).split(self.batch_size))


def matching(samples: Dataset, reference: Dataset, theirs: Path | str) -> None:
    """A DataError where the two have different shapes."""
    if tuple(samples.shape) != tuple(reference.shape):
        sizes = [
            " × ".join(map(str, d.shape[1:])) + f" with {d.shape[0]} channels" for d in (samples, reference)
        ]
        raise DataError(
            f"The samples are {sizes[0]}, the reference images ({theirs}) {sizes[1]}: they do not compare.",
            "Bring both to one size: --size N; and to one number of channels: --channels grey, or rgb",
        )


def compared(
    ours: Dataset,
    theirs: Dataset,
    recipe: Recipe,
    samples: str,
    reference: str,
    note: Callable[[str], None] = lambda text: None,
) -> list[Record]:
    """Figures of the images of one set against those of another, by the metrics of the recipe."""
    matching(ours, theirs, reference)
    o = recipe.evaluate
    # a set without test/ has all its images in both splits
    x = SplitStream(ours.train, o.batch_size)
    protocol = {"images": samples, "reference images": reference, "split": o.split}
    if theirs.train is theirs.test:
        del protocol["split"]
    with tempfile.TemporaryDirectory() as folder, noting(note):
        against_these = against(theirs, o.split, Path(folder), o.batch_size)
        found = measure(recipe.measured, theirs, against_these, {"samples": x}, {}, lambda name: protocol)
        return [r for r, _ in found]
