"""`image-folder`: a folder or zip of images, flat, in class folders, or with train/ and test/."""

from __future__ import annotations

from pathlib import Path

from vaebm_toolkit.builtin.data.files import from_files
from vaebm_toolkit.builtin.data.locate import existing, required
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.data.sources import has_images, open_source
from vaebm_toolkit.builtin.data.splitting import split_by_share
from vaebm_toolkit.builtin.data.tree import Files, splits_of
from vaebm_toolkit.builtin.datasets import ImageFolderOptions


def build(options: ImageFolderOptions) -> ImageDataset:
    """Test split: `test_path`, else the test/ or val/ folder, else `test_share` of the files."""
    path = required(options.path, "image-folder", "FOLDER_OR_ZIP")
    train, test = _splits(existing(path, "a folder or zip of images"))
    if options.test_path is not None:
        test, _ = _splits(existing(options.test_path, "a folder or zip of images"))
    if test is None:
        rows = split_by_share(train.names, options.test_share, str(train.source.path))
        train, test = train.pick(rows[0]), train.pick(rows[1])
    return from_files(train, test, options)


def _splits(path: Path) -> tuple[Files, Files | None]:
    """(train, test or None). A folder of train.zip and test.zip stands for the two zips."""
    zips = [path / "train.zip", path / "test.zip"]
    if all(z.is_file() for z in zips) and not has_images(path):
        return splits_of(open_source(zips[0]))[0], splits_of(open_source(zips[1]))[0]
    return splits_of(open_source(path))
