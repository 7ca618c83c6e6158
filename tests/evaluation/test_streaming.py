"""However many samples there are, few are in memory at a time."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import torch
from torch import Tensor

from vaebm_toolkit.builtin.distances import Frechet
from vaebm_toolkit.builtin.metrics import FrechetOptions
from vaebm_toolkit.builtin.spaces import Pixels
from vaebm_toolkit.core import SampleStream
from vaebm_toolkit.testing.tiny import TinyDataset


class Watched(SampleStream):
    """Counts the batches that are alive."""

    def __init__(self, batches: int) -> None:
        super().__init__((), 50 * batches)
        self.batches, self.alive, self.most = batches, 0, 0

    def __iter__(self) -> Iterator[Tensor]:
        for i in range(self.batches):
            x = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(i))
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(x, self.gone)
            yield x
            del x

    def gone(self) -> None:
        self.alive -= 1


def test_a_frechet_distance_holds_no_more_than_two_batches() -> None:
    data = TinyDataset((1, 8, 8))
    samples = Watched(100)
    metric = Frechet(FrechetOptions(), Pixels(None, data))
    metric.compute(samples, data)
    assert samples.most <= 2
