"""A small data set of any shape, to try parts on."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebm_toolkit.core import ModalDataset, Split, rand, randn, stream
from vaebm_toolkit.testing.subject import Shape

CLASSES = 4


class TinySplit(Split):
    """Examples and labels in memory."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        return self.x[indices]

    def labels(self) -> Tensor | None:
        return self.y


class TinyDataset(ModalDataset):
    """Four classes: each a pattern of its own with noise; images in [0, 1], vectors around four centres.

    train: 400 examples, test: 200, float32, the same for the same seed. A class is a mode.
    """

    modes = CLASSES

    def __init__(self, shape: Shape, seed: int = 0, train: int = 400, test: int = 200) -> None:
        self.shape = tuple(shape)
        self.image = len(self.shape) == 3
        self.bounds = (0.0, 1.0) if self.image else None
        rng = stream(seed, "tiny", "patterns")
        draw = rand if self.image else randn
        self.patterns = draw((CLASSES, *self.shape), rng, dtype=torch.float32) * (1.0 if self.image else 3.0)
        self.train = self.split(train, stream(seed, "tiny", "train"))
        self.test = self.split(test, stream(seed, "tiny", "test"))

    def split(self, n: int, rng: torch.Generator) -> TinySplit:
        y = torch.arange(n) % CLASSES
        noise = randn((n, *self.shape), rng, dtype=torch.float32)
        x = self.patterns[y] + (0.1 if self.image else 0.5) * noise
        return TinySplit(x.clamp(0, 1) if self.image else x, y)

    def mode_of(self, x: Tensor) -> Tensor:
        """The nearest pattern, (B,)."""
        return torch.cdist(x.flatten(1).to(self.patterns), self.patterns.flatten(1)).argmin(1)
