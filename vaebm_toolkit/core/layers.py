"""Convolutions whose weight is normalised: NVAE's and VAEBM's, and what others derive from them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NormalisedConv2d(nn.Conv2d):
    """A convolution that computes with an effective weight, a function of its parameters."""

    holdable: bool = True
    """Whether the effective weight is constant while the network is frozen, so that it can be held."""
    held_weight: Tensor | None = None
    """The effective weight while the network is frozen; see `core.freeze.frozen`."""

    def normalised_weight(self) -> Tensor:
        """The effective weight, (C_out, C_in / groups, k, k), with gradient. Changes nothing."""
        raise NotImplementedError(f"{type(self).__name__} has no normalised_weight().")

    def forward(self, x: Tensor) -> Tensor:
        weight = self.normalised_weight() if self.held_weight is None else self.held_weight
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class WeightNormConv2d(NormalisedConv2d):
    """Weight-normalised convolution with a learned log scale per output channel.

    Effective weight of channel o: exp(log_weight_norm_o) · w_o / (‖w_o‖₂ + 1e-5), the norm
    over (C_in / groups, k, k) (Salimans & Kingma, 2016; NVAE, section 3.2).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.log_weight_norm = nn.Parameter(torch.log(weight_norm(self.weight.detach()) + 0.01))

    def normalised_weight(self) -> Tensor:
        return self.weight * (torch.exp(self.log_weight_norm) / (weight_norm(self.weight) + 1e-5))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Scale and bias such that pre-activations on `x` have mean 0 and std 0.2 per channel.

        s = 5 · std (unbiased, over B, H, W): log scale = −log(s + 1e-5), bias = −mean / (s + 1e-5).
        """
        direction = self.weight / (weight_norm(self.weight) + 1e-5)
        out = F.conv2d(x, direction, None, self.stride, self.padding, self.dilation, self.groups)
        flat = out.transpose(0, 1).flatten(1)
        scale = 5 * flat.std(1) + 1e-5
        self.log_weight_norm.copy_(-torch.log(scale).view_as(self.log_weight_norm))
        if self.bias is not None:
            self.bias.copy_(-flat.mean(1) / scale)


def weight_norm(weight: Tensor) -> Tensor:
    """‖w_o‖₂ per output channel, (C_out, 1, 1, 1)."""
    return torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)
