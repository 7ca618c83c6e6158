"""The operations that cells are chains of, by the names of the arch table.

Every op takes stride 1, 2 (down) or -1 (up: nearest-neighbour doubling first).
Module names are those of published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_toolkit.core import WeightNormConv2d

Op = Callable[[int, int, int], nn.Module]
"""(channels in, channels out, stride) -> module"""


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.05)


def arranged(x: Tensor) -> Tensor:
    """x in the memory layout in which the network runs: channels-last on the CPU, else as it is.

    Convolutions hand the layout on. oneDNN's depthwise ones are several times faster in it;
    float64 does not go through oneDNN and is slower in it.
    """
    if x.device.type == "cpu" and x.dtype != torch.float64:
        return x.contiguous(memory_format=torch.channels_last)
    return x


def unrounded(layer: nn.Module, h: Tensor, weight: Tensor) -> Tensor:
    """layer(h) in the precision of its `weight`, under autocast too.

    For what an image's likelihood is made of: where σ is small, a mean in 8 bits costs a nat and more.
    """
    device, found = h.device.type, h.to(weight.dtype)
    with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
        found = layer(found)
    return found


def doubled(x: Tensor) -> Tensor:
    """Nearest-neighbour, (B, C, H, W) -> (B, C, 2H, 2W)"""
    return F.interpolate(x, scale_factor=2, mode="nearest")


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return doubled(x)


class BatchNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = batch_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x)


class Convolving(nn.Module):
    """Something before, doubling if up, then a 3×3 convolution, the `conv_0` of every residual op."""

    def __init__(self, c_in: int, c_out: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        self.up = stride == -1
        self.conv_0 = WeightNormConv2d(
            c_in, c_out, 3, stride=abs(stride), padding=dilation, dilation=dilation
        )

    def convolve(self, x: Tensor) -> Tensor:
        return self.conv_0(doubled(x) if self.up else x)


class BatchNormSwishConv(Convolving):
    """BatchNorm, swish, 3×3 convolution (NVAE, figure 3b); dilation 2 sees 5×5."""

    def __init__(self, c_in: int, c_out: int, stride: int, dilation: int = 1) -> None:
        super().__init__(c_in, c_out, stride, dilation)
        self.bn_act = batch_norm(c_in)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(F.silu(self.bn_act(x)))


class BatchNormEluConv(Convolving):
    """BatchNorm, ELU, 3×3 convolution."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__(c_in, c_out, stride)
        self.bn = BatchNorm(c_in)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(F.elu(self.bn(x)))


class EluConv(Convolving):
    """ELU, 3×3 convolution whose scale and bias are initialised from data."""

    def forward(self, x: Tensor) -> Tensor:
        return self.convolve(F.elu(x))


class ConvBatchNormSwish(nn.Module):
    """Convolution without bias or weight norm, BatchNorm, swish."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv, batch_norm(conv.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv(x))


class InvertedBottleneck(nn.Module):
    """Expand 1×1, depthwise k×k, project 1×1, with BatchNorm before, between and after.

    `expansion` times the input's channels inside; no activation after the first and the
    last BatchNorm (NVAE, figure 3a; MobileNetV2). `groups`: of the k×k convolution; none:
    one per channel.
    """

    def __init__(
        self, c_in: int, c_out: int, stride: int, *, expansion: int, kernel: int, groups: int | None = None
    ) -> None:
        super().__init__()
        hidden = c_in * expansion
        depthwise = nn.Conv2d(
            hidden, hidden, kernel, abs(stride), (kernel - 1) // 2, groups=groups or hidden, bias=False
        )
        self.up = stride == -1
        self.conv = nn.Sequential(
            *([Double()] if self.up else []),
            BatchNorm(c_in),
            ConvBatchNormSwish(nn.Conv2d(c_in, hidden, 1, bias=False)),
            ConvBatchNormSwish(depthwise),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            BatchNorm(c_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


OPS: dict[str, Op] = {
    "res_bnswish": BatchNormSwishConv,
    "res_bnswish5": partial(BatchNormSwishConv, dilation=2),
    "res_bnelu": BatchNormEluConv,
    "res_elu": EluConv,
    "mconv_e6k5": partial(InvertedBottleneck, expansion=6, kernel=5),
    "mconv_e6k11": partial(InvertedBottleneck, expansion=6, kernel=11),
    "mconv_e3k5": partial(InvertedBottleneck, expansion=3, kernel=5),
    "mconv_e3k5g8": partial(InvertedBottleneck, expansion=3, kernel=5, groups=8),
}
