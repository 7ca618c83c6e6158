"""One category of LSUN from its two LMDB folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaebm_toolkit.builtin.data.download import missing
from vaebm_toolkit.builtin.data.files import from_files
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.data.sources import Source
from vaebm_toolkit.builtin.data.tree import Files
from vaebm_toolkit.builtin.datasets import LsunOptions
from vaebm_toolkit.errors import DataError


class LmdbSource(Source):
    """Keys are the names. Read-only and without locks, so that several processes may share it."""

    def __init__(self, path: Path, lmdb: Any) -> None:
        self.path = path
        try:
            self._env = lmdb.open(str(path), readonly=True, lock=False, readahead=False, meminit=False)
            with self._env.begin() as transaction:
                keys = [bytes(key) for key in transaction.cursor().iternext(values=False)]
        except lmdb.Error as error:
            raise DataError(f"{path} is no LMDB, or a damaged one ({error}).", "Unpack it again.") from error
        if not keys:
            raise DataError(f"{path} holds no images.", "Unpack it again.")
        self.names = sorted(key.decode("latin-1") for key in keys)

    def read(self, name: str) -> bytes:
        with self._env.begin() as transaction:
            return bytes(transaction.get(name.encode("latin-1")))


def build(options: LsunOptions) -> ImageDataset:
    """Test: the category's validation part, 300 images. NVAE crops at random where this crops the centre."""
    try:
        import lmdb  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise DataError(
            "The data set lsun needs the package lmdb, which is not installed.",
            'pip install "vaebm-toolkit[lsun]"',
        ) from error
    root = Path(options.root).expanduser()
    folders = [f"{options.category}_{part}_lmdb" for part in ("train", "val")]
    place = next((at for at in (root, root / "lsun") if all((at / f).is_dir() for f in folders)), None)
    if place is None:
        raise missing(f"LSUN {options.category}", root, [f"{f}/data.mdb" for f in folders], download=False)
    train, test = (LmdbSource(place / folder, lmdb) for folder in folders)
    return from_files(
        Files(train, train.names, None),
        Files(test, test.names, None),
        options,
        memory=options.memory,
        verify=options.verify,
    )
