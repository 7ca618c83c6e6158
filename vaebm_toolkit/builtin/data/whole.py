"""All images of a place, for what compares sets and trains on none: a folder, a zip or an npz."""

from __future__ import annotations

from typing import Any

from vaebm_toolkit.builtin.data import npz
from vaebm_toolkit.builtin.data.files import from_files
from vaebm_toolkit.builtin.data.locate import existing
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.data.sources import open_source
from vaebm_toolkit.builtin.data.tree import splits_of
from vaebm_toolkit.builtin.datasets import ImageFolderOptions, NpzOptions
from vaebm_toolkit.errors import RunError, quoted


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
