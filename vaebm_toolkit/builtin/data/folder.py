"""`image-folder`: a folder or zip of images, flat, in class folders, or with train/ and test/."""

from __future__ import annotations

from vaebm_toolkit.builtin.data.files import from_files
from vaebm_toolkit.builtin.data.locate import existing, required
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.data.sources import open_source
from vaebm_toolkit.builtin.data.splitting import split_by_share
from vaebm_toolkit.builtin.data.tree import splits_of
from vaebm_toolkit.builtin.datasets import ImageFolderOptions


def build(options: ImageFolderOptions) -> ImageDataset:
    """Test split: `test_path`, else the test/ or val/ folder, else `test_share` of the files."""
    path = required(options.path, "image-folder", "FOLDER_OR_ZIP")
    train, test = splits_of(open_source(existing(path, "a folder or zip of images")))
    if options.test_path is not None:
        test, _ = splits_of(open_source(existing(options.test_path, "a folder or zip of images")))
    if test is None:
        rows = split_by_share(train.names, options.test_share, str(train.source.path))
        train, test = train.pick(rows[0]), train.pick(rows[1])
    return from_files(train, test, options, memory=options.memory, verify=options.verify)
