"""One category of LSUN from its two LMDB folders."""

from __future__ import annotations

from pathlib import Path

from vaebm_toolkit.builtin.data.download import missing
from vaebm_toolkit.builtin.data.files import from_files
from vaebm_toolkit.builtin.data.lmdb import LmdbSource, package
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.data.tree import Files
from vaebm_toolkit.builtin.datasets import LsunOptions


def build(options: LsunOptions) -> ImageDataset:
    """Test: the category's validation part, 300 images. NVAE crops at random where this crops the centre."""
    package()
    root = Path(options.root).expanduser()
    folders = [f"{options.category}_{part}_lmdb" for part in ("train", "val")]
    place = next((at for at in (root, root / "lsun") if all((at / f).is_dir() for f in folders)), None)
    if place is None:
        raise missing(f"LSUN {options.category}", root, [f"{f}/data.mdb" for f in folders], download=False)
    train, test = (Files.all_of(LmdbSource(place / folder)) for folder in folders)
    return from_files(train, test, options)
