"""Many names in little memory: a million of 30 characters take 42 MB, where Python's strings take 90."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

WIDEST = 256 * 2**20
"""Bytes of a table of equally wide names up to which NumPy sorts them; above it, Python does."""


class Names(Sequence[str]):
    """Texts in UTF-8, one after the other in `blob`; text i is blob[starts[i] : starts[i] + lengths[i]].

    starts: (N,) int64, lengths: (N,) uint32. Bytes that are no UTF-8 survive as they are.
    """

    def __init__(self, blob: bytes | bytearray, starts: NDArray[Any], lengths: NDArray[Any]) -> None:
        self.blob, self.starts, self.lengths = blob, starts, lengths

    @classmethod
    def of(cls, names: Iterable[str | bytes]) -> Names:
        """In the order given; read once, and never held as Python's texts."""
        blob, lengths = bytearray(), array("I")
        for name in names:
            raw = name if isinstance(name, bytes) else encoded(name)
            blob += raw
            lengths.append(len(raw))
        return cls.packed(blob, np.frombuffer(lengths, np.uint32) if lengths else np.empty(0, np.uint32))

    @classmethod
    def packed(cls, blob: bytes | bytearray, lengths: NDArray[Any]) -> Names:
        """Names of these lengths that follow each other without gaps."""
        ends = np.cumsum(lengths, dtype=np.int64)
        return cls(blob, ends - lengths, lengths)

    def raw(self, row: int) -> bytes:
        """Name `row` as it is stored."""
        start = int(self.starts[row])
        return bytes(self.blob[start : start + int(self.lengths[row])])

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Names: ...
    def __getitem__(self, row: int | slice) -> str | Names:
        if isinstance(row, slice):
            return Names(self.blob, self.starts[row], self.lengths[row])
        return self.raw(row).decode("utf-8", "surrogateescape")

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), 65536):
            part = slice(first, first + 65536)  # plain numbers are read faster than NumPy's
            for start, length in zip(self.starts[part].tolist(), self.lengths[part].tolist(), strict=True):
                yield self.blob[start : start + length].decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Names({len(self):,})"

    def take(self, rows: Any) -> Names:
        """The names of these rows, on the same bytes."""
        return Names(self.blob, self.starts[rows], self.lengths[rows])

    def order(self) -> NDArray[np.int64]:
        """The rows in the order of their names; equal names stay as they are. For names without gaps."""
        width = int(self.lengths.max(initial=1))
        if width * len(self) > WIDEST:
            return np.array(sorted(range(len(self)), key=self.raw), np.int64)
        table = np.zeros((len(self), width), np.uint8)
        letters, place = np.frombuffer(self.blob, np.uint8), np.arange(width)
        for first in range(0, len(self), 65536):
            part = slice(first, first + 65536)
            begin = int(self.starts[first])
            inside = place < self.lengths[part, None]
            table[part][inside] = letters[begin : begin + int(inside.sum())]
        return np.argsort(table.view(f"S{width}").ravel(), kind="stable").astype(np.int64)


def encoded(name: str) -> bytes:
    """A name as `Names` stores it."""
    return name.encode("utf-8", "surrogateescape")
