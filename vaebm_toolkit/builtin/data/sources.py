"""Where image files lie: a folder, a zip, an LMDB. Listing is cheap; files are read one by one."""

from __future__ import annotations

import os
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vaebm_toolkit.errors import DataError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")


class Source(ABC):
    """Named image files. `read` may be called from several threads."""

    path: Path
    names: list[str]
    """Sorted; folders are separated by "/"."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The file's bytes."""


class FolderSource(Source):
    """Every image below a folder; links are followed, hidden files are not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        everything = list(_walk(path))
        self.names = _images(everything)
        if not self.names:
            raise _no_images(path, "folder", everything)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()


class ZipSource(Source):
    """Every image inside a zip, read without unpacking."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(
                f"{path} is no zip archive, or a truncated one ({error}).", "Copy or download it again."
            ) from error
        everything = [i.filename for i in self._zip.infolist() if not i.is_dir()]
        self.names = _images(everything)
        if not self.names:
            raise _no_images(path, "zip", everything)

    def read(self, name: str) -> bytes:
        return self._zip.read(name)


def open_source(path: Path) -> Source:
    """The images of a folder or zip."""
    if path.is_dir():
        return FolderSource(path)
    suffix = path.suffix.lower()
    if suffix == ".zip" or (suffix not in EXTENSIONS and zipfile.is_zipfile(path) and suffix != ".npz"):
        return ZipSource(path)
    if suffix == ".npz":
        raise DataError(
            f"{path} is a NumPy archive, not a folder or zip of images.",
            f"Read it with --dataset npz --dataset.path {path}",
        )
    raise DataError(
        f"{path} is a single file; a folder or a .zip of images is read.",
        f"Name the folder: --dataset.path {path.parent}" if suffix in EXTENSIONS else "Unpack it first.",
    )


def has_images(folder: Path) -> bool:
    """Whether `FolderSource` would find any."""
    return any(_images([name]) for name in _walk(folder))


def _walk(root: Path) -> Iterator[str]:
    seen = set()
    for folder, children, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back
            children.clear()
            continue
        seen.add(real)
        inside = Path(folder).relative_to(root)
        yield from ((inside / name).as_posix() for name in files)


def _images(names: list[str]) -> list[str]:
    def wanted(name: str) -> bool:
        parts = PurePosixPath(name).parts
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        return not hidden and name.lower().endswith(EXTENSIONS)

    return sorted(filter(wanted, names))


def _no_images(path: Path, what: str, names: list[str]) -> DataError:
    kinds = Counter(PurePosixPath(name).suffix.lower() or "without extension" for name in names)
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
    fix = "Point --dataset.path at the folder or zip that holds them."
    if ".npz" in kinds:
        fix = f"Read NumPy archives with --dataset npz --dataset.path {path}"
    elif ".zip" in kinds:
        inner = next(name for name in sorted(names) if name.lower().endswith(".zip"))
        fix = f"Read the zip: --dataset.path {path / inner}" if what == "folder" else "Unpack it first."
    return DataError(
        f"The {what} {path} holds no images ({found or 'it is empty'}); {' '.join(EXTENSIONS)} are read.", fix
    )
