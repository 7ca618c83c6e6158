"""`lmdb`: images as the values of an LMDB, as NVAE's and VAEBM's code keeps CelebA, and LSUN is published."""

from __future__ import annotations

import math
import os
import threading
import weakref
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vaebm_toolkit.builtin.data.files import from_files
from vaebm_toolkit.builtin.data.kept import kept_arrays
from vaebm_toolkit.builtin.data.locate import existing, required
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.data.names import Names
from vaebm_toolkit.builtin.data.sources import Source
from vaebm_toolkit.builtin.data.splitting import split_by_share
from vaebm_toolkit.builtin.data.tree import Files
from vaebm_toolkit.builtin.datasets import LmdbOptions, Raw
from vaebm_toolkit.errors import DataError

TRAIN = ("train.lmdb", "train_lmdb", "train")
TEST = ("test.lmdb", "validation.lmdb", "val.lmdb", "test_lmdb", "val_lmdb", "test", "validation", "val")
PIXELS = {"rgb": (b"P6", 3), "grey": (b"P5", 1)}
"""How a PNM file begins, and bytes per pixel."""
SPARE = 16
"""Pages at the end of an LMDB that may be missing."""


class Environment:
    """One opened LMDB of one process: read-only and without locks. LMDB forbids a second one of a file."""

    opened: ClassVar[weakref.WeakValueDictionary[Any, Environment]] = weakref.WeakValueDictionary()
    lock: ClassVar = threading.Lock()

    def __init__(self, path: Path) -> None:
        lmdb = package()
        self.env = lmdb.open(
            str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, meminit=False
        )
        pages, there = self.env.info()["last_pgno"] + 1, data_file(path).stat().st_size
        whole = pages * self.env.stat()["psize"]
        # A sound file may lack the last pages, where a transaction did not need them after all;
        # reading one that was cut off ends the process by a signal.
        if there < 0.99 * whole - SPARE * self.env.stat()["psize"]:
            self.env.close()
            raise lmdb.CorruptedError(f"it ends after {there:,} of {whole:,} bytes")

    @classmethod
    def of(cls, path: Path) -> Environment:
        """That of this process: after a fork LMDB wants another than the parent's."""
        status = data_file(path).stat()  # a file written anew must not be read through an old map
        key = (os.getpid(), os.path.realpath(path), status.st_size, status.st_mtime_ns)
        with cls.lock:
            if (found := cls.opened.get(key)) is None:
                cls.opened[key] = found = cls(path)
            return found


class LmdbSource(Source):
    """The values of an LMDB; names are its keys, "0", "1", "2" … by number, other keys in LMDB's order.

    raw: values are no image files but the pixels of square images, uint8, row by row.
    """

    def __init__(self, path: Path, raw: Raw = "no") -> None:
        self.path, self.raw = path, raw
        lmdb = package()
        file = data_file(path)
        if not file.is_file():
            raise DataError(f"{path} is no LMDB: it holds no data.mdb.", _fix(path))
        try:
            self._env, self._pid = Environment.of(path), os.getpid()
            held = kept_arrays("lmdb", [file], lambda: _index(self._env))
        except (lmdb.Error, OSError) as error:
            raise DataError(f"{path} is no LMDB, or a damaged one ({error}).", _fix(path)) from error
        self.names = Names.packed(held["blob"].tobytes(), held["lengths"])
        if not self.names:
            raise DataError(f"The LMDB {path} is empty: it holds no images.", _fix(path))
        self.names = self.names.take(held["order"])

    def read(self, row: int) -> bytes:
        if self._pid != os.getpid():
            self._env.env.close()  # the parent's: py-lmdb opens no file twice
            self._env, self._pid = Environment.of(self.path), os.getpid()
        with self._env.env.begin() as transaction:
            data = transaction.get(self.names.raw(row))
        if data is None:
            raise ValueError("the LMDB has lost this key: it was written to since it was opened")
        return bytes(data) if self.raw == "no" else as_file(bytes(data), self.raw)


def build(options: LmdbOptions) -> ImageDataset:
    """Test split: `test_path`, else the LMDB beside train.lmdb, else `test_share` of the keys."""
    path = existing(required(options.path, "lmdb", "FILE_OR_FOLDER"), "an LMDB, or a folder of two")
    test_path = None if options.test_path is None else existing(options.test_path, "an LMDB")
    if path.is_dir() and not (path / "data.mdb").is_file():
        train = next((path / name for name in TRAIN if (path / name).exists()), None)
        test = next((path / name for name in TEST if (path / name).exists()), None)
        if train is None or (test is None and test_path is None):
            found = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
            raise DataError(
                f"{path} is no LMDB (no data.mdb) and holds no train.lmdb with test.lmdb or validation.lmdb; "
                f"it has {found}.",
                "Name the LMDB itself: --dataset.path FILE_OR_FOLDER",
            )
        path, test_path = train, test_path or test
    files = Files.all_of(LmdbSource(path, options.raw))
    if test_path is not None:
        return from_files(files, Files.all_of(LmdbSource(test_path, options.raw)), options)
    rows = split_by_share(files.names, options.test_share, str(path))
    return from_files(files.pick(rows[0]), files.pick(rows[1]), options)


def data_file(path: Path) -> Path:
    """The file that an LMDB at `path`, a folder or a file, consists of."""
    return path / "data.mdb" if path.is_dir() else path


def package() -> Any:
    """The package lmdb, which few need."""
    try:
        import lmdb  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise DataError(
            "LMDBs are read by the package lmdb, which is not installed.", 'pip install "vaebm-toolkit[lmdb]"'
        ) from error
    return lmdb


def as_file(data: bytes, raw: Raw) -> bytes:
    """Pixels of a square image as a file that PIL reads (PNM): NVAE's rule, size = √(bytes / channels)."""
    kind, channels = PIXELS[raw]
    size = math.isqrt(len(data) // channels)
    if not size or size * size * channels != len(data):
        raise ValueError(f"its {len(data)} bytes are no square image of {channels} bytes a pixel")
    return b"%s %d %d 255\n" % (kind, size, size) + data


def _index(opened: Environment) -> Mapping[str, NDArray[Any]]:
    """All keys one after the other, their lengths and their order."""
    blob, lengths, numbers = bytearray(), array("I"), array("q")
    with opened.env.begin() as transaction:
        for key in map(bytes, transaction.cursor().iternext(values=False)):
            if len(numbers) == len(lengths) and key.isdigit() and len(key) < 19:
                numbers.append(int(key))
            blob += key
            lengths.append(len(key))
    counted = len(numbers) == len(lengths)
    order = np.argsort(np.array(numbers), kind="stable") if counted else np.arange(len(lengths))
    return {
        "blob": np.frombuffer(bytes(blob), np.uint8),
        "lengths": np.array(lengths, np.uint32),
        "order": order.astype(np.int64),
    }


def _fix(path: Path) -> str:
    fix = "Copy it again, whole, or name another: --dataset.path FILE_OR_FOLDER."
    if path.suffix.lower() in (".zip", ".tar", ".npz"):
        kind = {".zip": "image-folder", ".tar": "webdataset", ".npz": "npz"}[path.suffix.lower()]
        fix = f"Read it with --dataset {kind} --dataset.path {path}"
    return fix
