"""Two sets of examples compared: images in folders, zips and npz files, from whatever model they are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.builtin.data import npz
from vaebm_toolkit.builtin.data.files import from_files
from vaebm_toolkit.builtin.data.locate import existing
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.data.sources import open_source
from vaebm_toolkit.builtin.data.tree import splits_of
from vaebm_toolkit.builtin.datasets import ImageFolderOptions, NpzOptions
from vaebm_toolkit.core import Dataset, SampleStream, Split
from vaebm_toolkit.errors import DataError, RunError, quoted
from vaebm_toolkit.evaluation.records import Record
from vaebm_toolkit.measuring import against, measure
from vaebm_toolkit.recipe import Recipe


class SplitStream(SampleStream):
    """The examples of a split, read batch by batch."""

    def __init__(self, split: Split, batch_size: int, count: int | None = None) -> None:
        super().__init__((), len(split) if count is None else min(count, len(split)))
        self.split, self.batch_size = split, batch_size

    def __iter__(self) -> Iterator[Tensor]:
        return (self.split.batch(index) for index in torch.arange(self.count).split(self.batch_size))


def images(path: str, size: int | None = None, channels: Any = "data") -> ImageDataset:
    """All images of a folder, zip or npz, as both splits; its train/ and test/ where it has these.

    Files are decoded at every access, so their number does not matter. size: the shorter side is brought
    to it and the centre is cut out. channels: as `ImageOptions.channels`.
    """
    found = existing(path, "a folder, zip or npz of images")
    if (found / "recipe.toml").is_file():
        raise RunError(
            f"{found} is a run, and images are expected here.",
            f"Evaluate the run: vaebm evaluate {quoted(found)}; or write its samples as images: vaebm sample "
            f"{quoted(found)} --count 1000 --out samples.npz",
        )
    if found.suffix == ".npz":
        held = npz.read(found)
        made = npz.from_tensors(held, held, NpzOptions(size=size, channels=channels))
        made.test = made.train
        return made
    train, test = splits_of(open_source(found))
    options = ImageFolderOptions(size=size, channels=channels)
    made = from_files(train, train if test is None else test, options, memory=0, verify=False)
    if test is None:
        made.test = made.train
    return made


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


def compared(ours: Dataset, theirs: Dataset, recipe: Recipe, samples: str, reference: str) -> list[Record]:
    """Figures of the images of one set against those of another, by the metrics of the recipe."""
    matching(ours, theirs, reference)
    o = recipe.evaluate
    # a set without test/ has all its images in both splits
    x = SplitStream(ours.train, o.batch_size)
    protocol = {"images": samples, "reference images": reference, "split": o.split}
    if theirs.train is theirs.test:
        del protocol["split"]
    with tempfile.TemporaryDirectory() as folder:
        against_these = against(theirs, o.split, Path(folder), o.batch_size)
        found = measure(recipe.measured, theirs, against_these, {"samples": x}, {}, lambda name: protocol)
        return [r for r, _ in found]
