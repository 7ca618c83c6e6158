"""All images of a place, for what compares sets and trains on none: a folder, a zip or an npz."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.builtin.data import npz, pixels
from vaebm_toolkit.builtin.data.files import from_files
from vaebm_toolkit.builtin.data.locate import existing
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.data.sources import open_source
from vaebm_toolkit.builtin.data.tree import splits_of
from vaebm_toolkit.builtin.datasets import Channels, ImageFolderOptions, NpzOptions
from vaebm_toolkit.core import Dataset, Split
from vaebm_toolkit.errors import RecipeError, RunError, quoted
from vaebm_toolkit.registry import installed, load_factory


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
    options = ImageFolderOptions(size=size, channels=channels, memory=0, verify=False)
    made = from_files(train, train if test is None else test, options)
    if test is None:
        made.test = made.train
    return made


class Brought(Split):
    """Images of another split at another size and with other channels, in 8 bits a value, as files are."""

    def __init__(self, split: Split, size: int | None, channels: Channels) -> None:
        self.split, self.size, self.channels = split, size, channels

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        stored = (255 * self.split.batch(indices)).round().to(torch.uint8)
        x = pixels.with_channels(pixels.resized(stored, self.size), self.channels)
        return x.to(torch.float32) / 255


def held_out(name: str, size: int | None, channels: Channels) -> Split:
    """The test split of the data set of that name, with its options as they are by default."""
    part = installed().find("dataset", name)
    options = part.component.options
    data: Dataset = load_factory(part)(options() if options else None)
    if len(data.shape) != 3:
        raise RecipeError(f"{name} holds vectors of {data.shape[0]} values, and images are expected here.")
    return Brought(data.test, size, channels)
