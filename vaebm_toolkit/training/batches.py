"""Which examples a step sees: a function of the seed and the step, so that resuming is exact."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebm_toolkit.core import Split, ranks, stream
from vaebm_toolkit.errors import DataError, RecipeError


class Batches:
    """Shuffled passes over a split; the last, smaller batch of a pass is dropped.

    `batch_size` is that of all ranks together, so that a recipe means the same on any number of them.
    Each rank reads its own rows alone, and augments them by a stream of its own.
    """

    def __init__(self, split: Split, batch_size: int, seed: int, stage: str) -> None:
        table = "trainer" if stage == "train" else stage
        if batch_size % ranks.world():
            fitting = [n for n in divisible(batch_size, ranks.world()) if n <= len(split)]
            raise RecipeError(
                f"A batch of {batch_size} cannot be shared evenly by {ranks.world()} processes: "
                "the batch size is that of all of them together.",
                f"Choose {' or '.join(f'--{table}.batch-size {n}' for n in fitting)}"
                if fitting
                else f"Use fewer: --devices {batch_size}",
            )
        if len(split) < batch_size:
            raise DataError(
                f"The training split has {len(split)} examples, fewer than one batch of {batch_size}.",
                f"Choose a smaller batch, e.g. --{table}.batch-size {max(len(split), 1)}",
            )
        self.split, self.batch_size, self.seed, self.stage = split, batch_size, seed, stage
        self.steps_per_epoch = len(split) // batch_size
        self.epoch, self.order = -1, torch.empty(0, dtype=torch.int64)

    def __call__(self, step: int) -> Tensor:
        """This rank's rows of the batch of `step`, augmented, (B / ranks, *data shape) on the CPU."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self.epoch:
            rng = stream(self.seed, self.stage, "order", epoch)
            self.epoch, self.order = epoch, torch.randperm(len(self.split), generator=rng)
        chosen = self.order[place * self.batch_size : (place + 1) * self.batch_size]
        rng = stream(self.seed, self.stage, "augment", step, *ranks.path())
        return self.split.batch(chosen[ranks.share(self.batch_size)], rng)


def divisible(n: int, parts: int) -> list[int]:
    """The multiples of `parts` beside n, without 0.

    >>> divisible(10, 4), divisible(2, 4)
    ([8, 12], [4])
    """
    below = n // parts * parts
    return [m for m in (below, below + parts) if m > 0]
