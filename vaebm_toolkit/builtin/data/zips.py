"""Zips of very many images: a compact index, and reads that share nothing between threads."""

from __future__ import annotations

import os
import struct
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from vaebm_toolkit.builtin.data.names import Names
from vaebm_toolkit.builtin.data.sources import Others, Source
from vaebm_toolkit.errors import DataError

# Sections of PKWARE's APPNOTE.TXT: 4.3.16, 4.3.14, 4.3.15, 4.3.12 and 4.3.7.
END, END64, LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
CENTRAL, LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
LONGEST_COMMENT = 2**16 - 1
UTF8, ENCRYPTED, STORED, DEFLATED = 0x800, 0x1, 0, 8
OVERFLOWN = 2**32 - 1
"""A size or place that stands in the zip64 field instead."""


class BadZip(ValueError):
    """What is wrong with an archive, in a few words."""


class Member(NamedTuple):
    """One entry of the central directory."""

    name: str
    flags: int
    method: int
    crc: int
    size: int
    """compressed, in bytes"""
    offset: int
    """of the local header"""


class ZipSource(Source):
    """Every image inside a zip, sorted by name and read without unpacking; 36 bytes each beside the name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        others = Others()
        kinds, crcs, sizes, offsets = array("I"), array("I"), array("Q"), array("Q")

        def images() -> Iterator[str]:
            for member in members(path):
                if not member.name.endswith("/") and others.wanted(member.name):
                    kinds.append(member.flags << 16 | member.method)
                    crcs.append(member.crc)
                    sizes.append(member.size)
                    offsets.append(member.offset)
                    yield member.name

        try:
            names = Names.of(images())
        except (BadZip, struct.error, OSError) as error:
            raise DataError(
                f"{path} is no zip archive, or a truncated one ({error}).", "Copy or download it again."
            ) from error
        if not names:
            raise others.no_images(path, "zip")
        order = names.order()
        self.names = names.take(order)
        self._kinds, self._crcs = (np.frombuffer(a, np.uint32)[order] for a in (kinds, crcs))
        self._sizes, self._offsets = (np.frombuffer(a, np.uint64)[order] for a in (sizes, offsets))

    def read(self, row: int) -> bytes:
        """Opens the file anew: nothing is shared, and no limit of open files is met."""
        flags, method = divmod(int(self._kinds[row]), 2**16)
        if flags & ENCRYPTED:
            raise BadZip("encrypted; zip it without a password")
        with open(self.path, "rb", buffering=0) as file:
            file.seek(int(self._offsets[row]))
            header = LOCAL.unpack(exactly(file, LOCAL.size))
            if header[0] != b"PK\3\4":
                raise BadZip("its header inside the zip is damaged")
            file.seek(header[-2] + header[-1], os.SEEK_CUR)
            data = exactly(file, int(self._sizes[row]))
        if method == DEFLATED:
            data = zlib.decompress(data, -zlib.MAX_WBITS)
        elif method != STORED:
            raise BadZip(f"compressed by method {method}; stored and deflated files are read")
        if zlib.crc32(data) != self._crcs[row]:
            raise BadZip("its checksum differs: damaged inside the zip")
        return data


def members(path: Path) -> Iterator[Member]:
    """The central directory, read as a stream: as much memory for a million files as for one."""
    with open(path, "rb") as file:
        count, begin, moved = _directory(file)
        file.seek(begin)
        for _ in range(count):
            fields = CENTRAL.unpack(exactly(file, CENTRAL.size))
            if fields[0] != b"PK\1\2":
                raise BadZip("its directory is damaged")
            flags, method, crc, size, whole, offset = fields[3], fields[4], *fields[7:10], fields[16]
            name = exactly(file, fields[10]).decode("utf-8" if flags & UTF8 else "cp437", "surrogateescape")
            extra = exactly(file, fields[11])
            file.seek(fields[12], os.SEEK_CUR)
            if OVERFLOWN in (size, whole, offset):
                size, offset = _zip64(extra, size, whole, offset)
            yield Member(name, flags, method, crc, size, offset + moved)


def is_zip(path: Path) -> bool:
    """Whether the file ends as a zip does."""
    try:
        with open(path, "rb") as file:
            _directory(file)
    except (BadZip, struct.error, OSError):
        return False
    return True


def exactly(file: BinaryIO, size: int) -> bytes:
    """`size` bytes, or an error where the file ends before."""
    data = file.read(size)
    if len(data) != size:
        raise BadZip("it ends too early")
    return data


def _directory(file: BinaryIO) -> tuple[int, int, int]:
    """Number of entries, where they begin, and how many bytes lie before the archive's own start."""
    total = file.seek(0, os.SEEK_END)
    first = file.seek(max(total - END.size - LONGEST_COMMENT, 0))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + END.size > len(tail):
        raise BadZip("its directory is missing")
    _, _, _, _, count, size, offset, _ = END.unpack_from(tail, at)
    end = first + at
    if end >= LOCATOR.size + END64.size:  # zip64's record lies in between also where it was not needed
        file.seek(end - LOCATOR.size)
        signature, _, place, _ = LOCATOR.unpack(exactly(file, LOCATOR.size))
        if signature == b"PK\6\7":
            count, size, offset, end = _zip64_end(file, place, end - LOCATOR.size - END64.size)
    begin = end - size
    if begin < 0 or begin < offset:
        raise BadZip("its directory is damaged")
    return count, begin, begin - offset


def _zip64_end(file: BinaryIO, place: int, right_before: int) -> tuple[int, int, int, int]:
    """Entries, size and offset of the directory, and where it ends.

    Where bytes lie before the archive `place` is too low, but the record stands right before its locator.
    """
    for end in (place, right_before):
        file.seek(end)
        fields = END64.unpack(exactly(file, END64.size))
        if fields[0] == b"PK\6\6":
            return fields[7], fields[8], fields[9], end
    raise BadZip("its directory is damaged")


def _zip64(extra: bytes, size: int, whole: int, offset: int) -> tuple[int, int]:
    """Compressed size and offset, from the zip64 field where they do not fit into 32 bits (4.5.3)."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, 4))
            if whole == OVERFLOWN:
                next(wide, None)
            size = next(wide, size) if size == OVERFLOWN else size
            offset = next(wide, offset) if offset == OVERFLOWN else offset
            break
        extra = extra[4 + length :]
    return size, offset
