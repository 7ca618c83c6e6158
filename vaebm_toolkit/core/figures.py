"""What metrics are given and what they return: samples as a stream, figures with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from vaebm_toolkit.core.interfaces import Features


class Figure(float):
    """A figure with its 95 % interval, where one is known; a float everywhere else."""

    low: float | None
    high: float | None

    def __new__(cls, value: float, low: float | None = None, high: float | None = None) -> Figure:
        figure = super().__new__(cls, value)
        figure.low, figure.high = low, high
        return figure

    @classmethod
    def within(cls, value: float, error: float, least: float = -math.inf, most: float = math.inf) -> Figure:
        """With the interval of a normal distribution of that standard error; none where that is not finite.

        least, most: the range of the quantity, which its interval does not leave.
        """
        if not math.isfinite(error):
            return cls(value)
        return cls(value, max(value - 1.96 * error, least), min(value + 1.96 * error, most))


class SampleStream:
    """Examples to be judged: batches (B, *data shape), as often as they are asked for.

    Nothing says that they fit into memory; read them batch by batch.
    """

    def __init__(self, batches: Iterable[Tensor], count: int, seed: int = 0) -> None:
        """`batches` can be iterated over again, and gives `count` examples each time.

        seed: example i of a model was drawn from `stream(seed, "sample", i)`.
        """
        self.examples, self.count, self.seed = batches, count, seed

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.examples)

    def features(self, space: Features) -> Iterator[Tensor]:
        """The examples' features in a space, (B, d), batch by batch. Default: computed each time."""
        return map(space, self)


def as_stream(samples: Iterable[Tensor]) -> SampleStream:
    """`SampleStream` as they are; of other batches, which are then held in memory."""
    if isinstance(samples, SampleStream):
        return samples
    held = list(samples)
    return SampleStream(held, sum(map(len, held)))
