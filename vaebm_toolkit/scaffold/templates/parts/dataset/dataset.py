"""Images of discs: data of any number, made from a seed."""

import torch
from torch import Tensor

from vaebm_toolkit.core import Dataset, Split, rand, stream

from . import Options


class Images(Split):
    """images: (N, C, H, W) float32 in [0, 1]"""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W). An `rng` is given in training alone: random changes of the images go here."""
        return self.images[indices]


class Discs(Dataset):
    """Soft discs whose place and radius are uniform."""

    bounds = (0.0, 1.0)

    def __init__(self, options: Options) -> None:
        self.shape = options.data_shape
        self.train = Images(discs(options.train_size, options.size, stream(options.seed, "discs", "train")))
        self.test = Images(discs(options.test_size, options.size, stream(options.seed, "discs", "test")))


def discs(n: int, size: int, rng: torch.Generator) -> Tensor:
    """x = sigmoid(2 (r − distance to the centre)) at every pixel: (n, 1, size, size)."""
    u = rand((n, 3), rng, dtype=torch.float32)
    row, column = (size * (0.25 + 0.5 * u[:, i]) for i in (0, 1))
    radius = size * (0.15 + 0.15 * u[:, 2])
    place = torch.arange(size, dtype=torch.float32) + 0.5
    vertical = (place[None, :, None] - row[:, None, None]).square()
    horizontal = (place[None, None, :] - column[:, None, None]).square()
    distance = (vertical + horizontal).sqrt()
    return torch.sigmoid(2 * (radius[:, None, None] - distance))[:, None]


def build(options: Options) -> Discs:
    return Discs(options)
