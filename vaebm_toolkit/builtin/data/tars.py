"""Tar shards as WebDataset writes them: where each image lies, found once, and read from there."""

from __future__ import annotations

import tarfile
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vaebm_toolkit.builtin.data.kept import kept_arrays
from vaebm_toolkit.builtin.data.names import Names, encoded
from vaebm_toolkit.builtin.data.sources import EXTENSIONS, Others, Source, is_image
from vaebm_toolkit.errors import DataError, quoted

UNLABELLED = -1


class TarSource(Source):
    """Every image in the shards, in their order; a name is "SHARD/MEMBER". 30 bytes each beside the name.

    A sample is what follows each other with one key, the name up to its first dot after the last "/"
    (WebDataset's rule): its first image, and the whole number in its .cls if there is one.
    """

    labels: NDArray[np.int64] | None
    """(N,), or None where no sample has a .cls"""

    def __init__(self, path: Path, shards: Sequence[Path]) -> None:
        self.path, self.shards = path, shards
        held = kept_arrays("tar", shards, lambda: _index(path, shards))
        self._shards, self._offsets, self._sizes = held["shards"], held["offsets"], held["sizes"]
        self.names = Names.packed(held["blob"].tobytes(), held["lengths"])
        labels = held["labels"]
        without = np.flatnonzero(labels == UNLABELLED)
        if 0 < len(without) < len(labels):
            raise DataError(
                f"{len(without):,} of {len(labels):,} samples in {path} have no .cls, and the others do; "
                f"the first is {self.names[int(without[0])]}.",
                "Give every sample a .cls with the number of its class, or none.",
            )
        self.labels = None if len(without) else labels.astype(np.int64)

    def read(self, row: int) -> bytes:
        """Opens the shard anew: nothing is shared, and no limit of open files is met."""
        size = int(self._sizes[row])
        with open(self.shards[self._shards[row]], "rb", buffering=0) as file:
            file.seek(int(self._offsets[row]))
            data = file.read(size)
        if len(data) != size:
            raise ValueError("the shard ends before it: it was cut after it was indexed")
        return data


def _index(path: Path, shards: Sequence[Path]) -> Mapping[str, NDArray[Any]]:
    """One pass over the headers of all shards; only positions are kept."""
    found = _Found()
    for number, shard in enumerate(shards):
        try:
            with open(shard, "rb") as file:
                found.shard(number, shard, file)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise _unreadable(shard, error) from error
    if not found.lengths:
        raise found.others.no_images(path, "shards")
    return {
        "blob": np.frombuffer(bytes(found.blob), np.uint8),
        "lengths": np.array(found.lengths, np.uint32),
        "shards": np.array(found.shards, np.uint32),
        "offsets": np.array(found.offsets, np.uint64),
        "sizes": np.array(found.sizes, np.uint32),
        "labels": np.array(found.labels, np.int32),
    }


class _Found:
    """The samples met so far."""

    def __init__(self) -> None:
        self.blob, self.others = bytearray(), Others()
        self.lengths, self.shards, self.sizes = array("I"), array("I"), array("I")
        self.offsets, self.labels = array("Q"), array("i")

    def shard(self, number: int, shard: Path, file: BinaryIO) -> None:
        with tarfile.open(fileobj=file, mode="r:", errorlevel=1) as tar:
            key: str | None = None
            first, label = len(self.lengths), UNLABELLED
            while (member := tar.next()) is not None:
                tar.members.clear()  # or every header stays in memory
                if not member.isfile():
                    continue
                own, kind = parted(member.name)
                if own != key:
                    key, first, label = own, len(self.lengths), UNLABELLED
                if kind == ".cls":
                    label = _label(tar, member, shard)
                    self.labels[first:] = array("i", [label] * (len(self.labels) - first))
                elif kind not in EXTENSIONS or not is_image(own + kind):
                    self.others.kinds[kind or "without extension"] += 1
                elif len(self.lengths) == first:
                    name = encoded(f"{shard.name}/{member.name}")
                    self.blob += name
                    self.lengths.append(len(name))
                    self.shards.append(number)
                    self.offsets.append(member.offset_data)
                    self.sizes.append(member.size)
                    self.labels.append(label)
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a damaged header for the end
                raise tarfile.ReadError(f"no header at byte {tar.offset:,}")


def parted(name: str) -> tuple[str, str]:
    """Key and extension in small letters: the name is parted at the first dot after the last "/"."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    stem, dot, kind = last.partition(".")
    return folder + slash + stem, (dot + kind).lower()


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo, shard: Path) -> int:
    data = tar.extractfile(member)
    text = b"" if data is None else data.read(64).strip()
    if not text.isdigit() or int(text) >= 2**31:
        raise DataError(
            f"{member.name} in {shard} holds {text[:20]!r}, and a .cls holds the number of a class from 0.",
            "Write the shard anew with whole numbers, or without .cls.",
        )
    return int(text)


def _unreadable(shard: Path, error: Exception) -> DataError:
    with open(shard, "rb") as file:
        start = file.read(6)
    packed = {b"\x1f\x8b": "gzip -d", b"BZ": "bzip2 -d", b"\xfd7": "xz -d", b"(\xb5": "zstd -d"}.get(
        start[:2]
    )
    if packed:
        return DataError(
            f"{shard} is a compressed tar; images are read from anywhere in a shard, so it must be plain.",
            f"{packed} {quoted(shard)}",
        )
    return DataError(
        f"{shard} is no tar archive, or a truncated one ({error}).", "Copy or download it again."
    )
