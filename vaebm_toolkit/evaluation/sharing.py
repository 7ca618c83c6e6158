"""Samples that all ranks make together, for rank 0 to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from vaebm_toolkit.core import ranks

Make = Callable[[range], Iterator[Tensor]]
"""Indices of samples -> batches of them, (B, *data shape)."""


class Shared:
    """What `makers` make, by name, shared out over the ranks.

    Sample i depends on its index alone, so it does not matter which rank makes it. Rank 0 asks, and is the
    only one that needs to know what is there already; the others `serve` until rank 0 has reached `end`.
    """

    def __init__(self, makers: Mapping[str, Make]) -> None:
        self.makers = makers

    def make(self, name: str, indices: range, rows: int) -> Iterator[Tensor]:
        """On rank 0: the samples of `indices`, on the CPU, `rows` of each rank at a time."""
        for start in range(indices.start, indices.stop, rows * ranks.world()):
            part = range(start, min(start + rows * ranks.world(), indices.stop))
            ranks.from_first(lambda part=part: (name, part))
            yield from self.work(name, part) or []

    def serve(self) -> None:
        """On the other ranks: make what rank 0 asks for."""
        while (order := ranks.from_first(nothing)) is not None:
            self.work(*order)

    def end(self) -> None:
        """On rank 0: there is nothing more to make."""
        ranks.from_first(nothing)

    def work(self, name: str, indices: range) -> list[Tensor] | None:
        """This rank's contiguous share of the samples; those of all ranks on rank 0."""
        rows = -(-len(indices) // ranks.world())
        own = indices[ranks.rank() * rows : (ranks.rank() + 1) * rows]
        made = [x.detach().cpu() for x in self.makers[name](own)]
        found = ranks.collected(torch.cat(made) if made else None)
        return None if found is None else [x for x in found if x is not None]


def nothing() -> None:
    return None
