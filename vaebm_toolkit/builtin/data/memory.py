"""Images as one uint8 tensor in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vaebm_toolkit.core import Dataset, Split


class MemorySplit(Split):
    """Examples k / levels from whole numbers k in 0..levels.

    images: (N, C, H, W) uint8. labels: (N,) int64 or None.
    flip: mirror left to right with probability 1/2, only where `batch` is given a stream.
    names: the file of each image, or () where there are no files.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        levels: int = 255,
        flip: bool = False,
        names: Sequence[str] = (),
    ) -> None:
        self.images, self.levels, self.flip, self.names = images, levels, flip, names
        self._labels = None if labels is None else labels.to(torch.int64)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W) float32 in [0, 1]."""
        x = self.images[indices].to(torch.float32).div_(self.levels)
        return mirrored(x, rng) if self.flip and rng is not None else x

    def labels(self) -> Tensor | None:
        return self._labels


class ImageDataset(Dataset):
    """Images in [0, 1] with a training and a test split.

    classes: what each label means, or () where there are no labels.
    levels: values are k / levels; 255 for 8 bits, 31 for 5, 16 for `digits`.
    """

    bounds: tuple[float, float] | None = (0.0, 1.0)

    def __init__(
        self,
        shape: tuple[int, ...],
        train: Split,
        test: Split,
        *,
        classes: tuple[str, ...] = (),
        levels: int = 255,
    ) -> None:
        self.shape, self.train, self.test = shape, train, test
        self.classes, self.levels = classes, levels


def mirrored(x: Tensor, rng: torch.Generator) -> Tensor:
    """Each of (B, C, H, W) mirrored left to right with probability 1/2; one draw per image."""
    heads = torch.rand(len(x), generator=rng, device=rng.device, dtype=torch.float32) < 0.5
    return torch.where(heads.to(x.device)[:, None, None, None], x.flip(-1), x)
