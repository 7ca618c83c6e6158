"""Splits that depend on names alone: the same on every machine and in every session."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vaebm_toolkit.errors import DataError


def rank(name: str) -> int:
    """A number in 0..2^64 − 1 that looks random and follows from the name."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")


def hold_out(names: Iterable[str], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (kept, held out), both ascending: the `count` names of lowest rank are held out.

    When files are added, an image changes sides only if its rank lies between the old and the
    new threshold; the order in which names are listed does not matter.
    """
    ranks = np.fromiter((rank(name) for name in names), np.uint64)
    held = np.zeros(len(ranks), bool)
    held[np.argsort(ranks, kind="stable")[:count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def split_by_share(
    names: Sequence[str], share: float, where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (train, test), at least one of each; `where` names the source in the error."""
    if len(names) < 2:
        raise DataError(
            f"{where} holds {len(names)} image; a training and a test split need at least 2.",
            "Add images, or name a test source with --dataset.test-path PATH.",
        )
    return hold_out(names, min(max(1, round(share * len(names))), len(names) - 1))
