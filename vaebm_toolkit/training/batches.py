"""Which examples a step sees: a function of the seed and the step, so that resuming is exact."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebm_toolkit.core import Split, stream
from vaebm_toolkit.errors import DataError


class Batches:
    """Shuffled passes over a split; the last, smaller batch of a pass is dropped."""

    def __init__(self, split: Split, batch_size: int, seed: int, stage: str) -> None:
        if len(split) < batch_size:
            table = "trainer" if stage == "train" else stage
            raise DataError(
                f"The training split has {len(split)} examples, fewer than one batch of {batch_size}.",
                f"Choose a smaller batch, e.g. --{table}.batch-size {max(len(split), 1)}",
            )
        self.split, self.batch_size, self.seed, self.stage = split, batch_size, seed, stage
        self.steps_per_epoch = len(split) // batch_size
        self.epoch, self.order = -1, torch.empty(0, dtype=torch.int64)

    def __call__(self, step: int) -> Tensor:
        """The batch of `step`, augmented, (B, *data shape) on the CPU."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self.epoch:
            rng = stream(self.seed, self.stage, "order", epoch)
            self.epoch, self.order = epoch, torch.randperm(len(self.split), generator=rng)
        chosen = self.order[place * self.batch_size : (place + 1) * self.batch_size]
        return self.split.batch(chosen, stream(self.seed, self.stage, "augment", step))
