"""Where image files lie: a folder or a zip. Listing is cheap; files are read one by one."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vaebm_toolkit.builtin.data.names import Names
from vaebm_toolkit.errors import DataError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")


class Source(ABC):
    """Named image files. `read` may be called from several threads, and after a fork."""

    path: Path
    names: Names
    """Folders are separated by "/"."""

    @abstractmethod
    def read(self, row: int) -> bytes:
        """The bytes of file `row` of `names`."""


class FolderSource(Source):
    """Every image below a folder, sorted by name; links are followed, hidden files are not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        others = Others()
        names = Names.of(name for name in _walk(path) if others.wanted(name))
        if not names:
            raise others.no_images(path, "folder")
        self.names = names.take(names.order())

    def read(self, row: int) -> bytes:
        return (self.path / self.names[row]).read_bytes()


def open_source(path: Path) -> Source:
    """The images of a folder or zip."""
    from vaebm_toolkit.builtin.data.zips import ZipSource, is_zip

    if path.is_dir():
        return FolderSource(path)
    suffix = path.suffix.lower()
    if suffix == ".zip" or (suffix not in EXTENSIONS and suffix != ".npz" and is_zip(path)):
        return ZipSource(path)
    if suffix == ".npz":
        raise DataError(
            f"{path} is a NumPy archive, not a folder or zip of images.",
            f"Read it with --dataset npz --dataset.path {path}",
        )
    fix = f"Name the folder: --dataset.path {path.parent}" if suffix in EXTENSIONS else "Unpack it first."
    if suffix == ".tar":
        fix = f"Unpack it first, or read it with --dataset webdataset --dataset.path {path}"
    raise DataError(f"{path} is a single file; a folder or a .zip of images is read.", fix)


def has_images(folder: Path) -> bool:
    """Whether `FolderSource` would find any."""
    return any(is_image(name) for name in _walk(folder))


def is_image(name: str) -> bool:
    """Whether a file's name is an image's, and nothing on its path is hidden."""
    if not name.lower().endswith(EXTENSIONS):
        return False
    path = ("/" + name).replace("/./", "/")
    return "/." not in path and "/__MACOSX/" not in path


class Others:
    """What lies beside the images, counted, to be told where there are no images."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.zip: str | None = None

    def wanted(self, name: str) -> bool:
        """Whether this is an image; other names are counted."""
        if is_image(name):
            return True
        kind = PurePosixPath(name).suffix.lower()
        self.kinds[kind or "without extension"] += 1
        if kind == ".zip":
            self.zip = name if self.zip is None else min(self.zip, name)
        return False

    def no_images(self, path: Path, what: str) -> DataError:
        """`path`, a folder or a zip as `what` says, holds none."""
        found = ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common(4))
        fix = "Point --dataset.path at the folder or zip that holds them."
        if ".npz" in self.kinds:
            fix = f"Read NumPy archives with --dataset npz --dataset.path {path}"
        elif self.zip is not None:
            fix = (
                f"Read the zip: --dataset.path {path / self.zip}" if what == "folder" else "Unpack it first."
            )
        elif {".mdb", ".lmdb"} & set(self.kinds):
            fix = f"Read LMDBs with --dataset lmdb --dataset.path {path}"
        elif ".tar" in self.kinds:
            fix = f"Read tar shards with --dataset webdataset --dataset.path {path}"
        message = f"The {what} {path} holds no images ({found or 'it is empty'});"
        return DataError(f"{message} {' '.join(EXTENSIONS)} are read.", fix)


def _walk(root: Path) -> Iterator[str]:
    """Every file below `root`, relative to it, one folder's entries at a time and none of them kept."""
    seen = set()
    ahead = [""]
    while ahead:
        inside = ahead.pop()
        folder = os.path.join(root, inside)
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back
            continue
        seen.add(real)
        children = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        children.append(f"{inside}{entry.name}/")
                    else:
                        yield inside + entry.name
        except OSError:  # a folder that may not be read
            continue
        ahead += reversed(children)
