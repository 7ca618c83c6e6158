"""Binary images drawn from grey ones, for Bernoulli decoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.core import Split, rand, stream


class BinarySplit(Split):
    """Each value of `grey` is 1 with its grey as probability, else 0 (NVAE's MNIST; Salakhutdinov &
    Murray, 2008, drawn anew at every access).

    With a stream, as in training, every access draws anew; without, example i is always the same.
    """

    def __init__(self, grey: Split) -> None:
        self.grey, self.slow = grey, grey.slow
        self.names: Sequence[str] = getattr(grey, "names", ())

    def __len__(self) -> int:
        return len(self.grey)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W) float32 in {0, 1}."""
        x = self.grey.batch(indices, rng)
        if rng is not None:
            u = rand(x.shape, rng, dtype=x.dtype)
        else:
            u = torch.stack([own_uniform(int(i), x) for i in indices]) if len(x) else x
        return (u < x).to(x)

    def labels(self) -> Tensor | None:
        return self.grey.labels()


def own_uniform(index: int, like: Tensor) -> Tensor:
    """Numbers of example `index`, the same in every session."""
    return rand(like.shape[1:], stream(0, "binarise", index), dtype=like.dtype)


def binarised(data: ImageDataset) -> ImageDataset:
    """The data set with both splits binary."""
    return ImageDataset(
        data.shape, BinarySplit(data.train), BinarySplit(data.test), classes=data.classes, levels=1
    )
