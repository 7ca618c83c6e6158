"""Normalising-flow cells: the posterior's refinement by masked autoregressive convolutions.

A flow is volume preserving, its log-determinant 0 (NVAE, section 3.2, and the released code). It is
used between posterior and decoder only: sampling draws from the prior as without it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_toolkit.core import WeightNormConv2d

EXPANSION = 6
"""Hidden channels of a flow per latent channel."""


def channel_mask(c_in: int, c_out: int, zero_diagonal: bool) -> Tensor:
    """(C_out, C_in): which input channels of the same pixel an output channel may see.

    Channels come in min(C_in, C_out) blocks. A block sees the blocks before it, and itself
    unless `zero_diagonal`.
    """
    blocks = min(c_in, c_out)
    block_in = torch.arange(c_in) // (c_in // blocks)
    block_out = torch.arange(c_out) // (c_out // blocks)
    seen = block_out[:, None] > block_in if zero_diagonal else block_out[:, None] >= block_in
    return seen.to(torch.get_default_dtype())


def spatial_mask(
    c_in: int, c_out: int, kernel: int, groups: int, mirror: bool, zero_diagonal: bool
) -> Tensor:
    """(C_out, C_in / groups, k, k): ones above the centre row and left of the centre in it.

    The centre itself holds the channel mask (1 for a depthwise convolution, 0 with `zero_diagonal`).
    `mirror` flips both spatial axes: what came last comes first.
    """
    middle = kernel // 2
    mask = torch.zeros(c_out, c_in // groups, kernel, kernel)
    mask[:, :, :middle] = 1
    mask[:, :, middle, :middle] = 1
    if groups == c_in:
        mask[:, :, middle, middle] = 0.0 if zero_diagonal else 1.0
    else:
        mask[:, :, middle, middle] = channel_mask(c_in, c_out, zero_diagonal)
    return mask.flip(2, 3) if mirror else mask


class MaskedConv2d(WeightNormConv2d):
    """Autoregressive convolution: the weight is masked, then normalised."""

    mask: Tensor

    def __init__(
        self, c_in: int, c_out: int, kernel: int, *,
        mirror: bool, zero_diagonal: bool = False, groups: int = 1, bias: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(c_in, c_out, kernel, padding=kernel // 2, groups=groups, bias=bias)
        mask = spatial_mask(c_in, c_out, kernel, groups, mirror, zero_diagonal)
        self.register_buffer("mask", mask.to(self.weight), persistent=False)
        with torch.no_grad():
            self.log_weight_norm.copy_(torch.log(self.norm(self.weight * self.mask) + 0.01))

    @staticmethod
    def norm(weight: Tensor) -> Tensor:
        return torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)

    def normalised_weight(self) -> Tensor:
        weight = self.weight * self.mask
        return weight * (torch.exp(self.log_weight_norm) / (self.norm(weight) + 1e-5))


class Hidden(nn.Module):
    """Masked 3×3, ELU, masked depthwise 5×5, ELU: features of what came before each latent."""

    def __init__(self, latent: int, mirror: bool) -> None:
        super().__init__()
        width = EXPANSION * latent
        self.convz = nn.Sequential(
            MaskedConv2d(latent, width, 3, mirror=mirror, zero_diagonal=True),
            nn.ELU(),
            MaskedConv2d(width, width, 5, mirror=mirror, groups=width),
            nn.ELU(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.convz(z)


class Shift(nn.Module):
    """ELU (a second one, as released), masked 1×1 convolution: μ(z)."""

    def __init__(self, latent: int, mirror: bool) -> None:
        super().__init__()
        self.conv_0 = MaskedConv2d(EXPANSION * latent, latent, 1, mirror=mirror, bias=True)
        with torch.no_grad():  # starts near the identity
            self.conv_0.log_weight_norm.add_(math.log(0.1))

    def forward(self, h: Tensor) -> Tensor:
        return self.conv_0(F.elu(h))


class AutoregressiveCell(nn.Module):
    """z ← z − μ(z), where μ at a latent depends on the latents before it: |dz'/dz| = 1."""

    def __init__(self, latent: int, mirror: bool) -> None:
        super().__init__()
        self.conv = Hidden(latent, mirror)
        self.mu = Shift(latent, mirror)

    def forward(self, z: Tensor) -> Tensor:
        return z - self.mu(self.conv(z))


class PairedCell(nn.Module):
    """One autoregressive cell in raster order, then one in the opposite order."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.cell1 = AutoregressiveCell(latent, mirror=False)
        self.cell2 = AutoregressiveCell(latent, mirror=True)

    def forward(self, z: Tensor) -> Tensor:
        return self.cell2(self.cell1(z))
