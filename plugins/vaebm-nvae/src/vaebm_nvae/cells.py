"""Cells and combiners, the two kinds of layers in NVAE's towers, and the arch table."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_nvae.ops import OPS
from vaebm_toolkit.core import WeightNormConv2d

Ops = str
"""Names of ops, in order, separated by blanks."""
Arch = dict[str, tuple[str, ...]]
PARTS = ("enc", "dec", "pre", "post")


def arch(enc: Ops, dec: Ops, pre: Ops, post: Ops) -> Arch:
    return {part: tuple(ops.split()) for part, ops in zip(PARTS, (enc, dec, pre, post), strict=True)}


PLAIN, WIDE, NARROW = "res_bnswish res_bnswish", "mconv_e6k5", "mconv_e3k5"
ARCHS: dict[str, Arch] = {
    "res_mbconv": arch(PLAIN, WIDE, PLAIN, NARROW),
    "res_bnswish": arch(PLAIN, PLAIN, PLAIN, PLAIN),
    "res_bnelu": arch(*["res_bnelu res_bnelu"] * 4),
    "res_elu": arch(*["res_elu res_elu"] * 4),
    "mbconv_sep": arch(WIDE, WIDE, NARROW, NARROW),
    "mbconv_sep11": arch("mconv_e6k11", "mconv_e6k11", NARROW, NARROW),
    "mbconv_den": arch(WIDE, WIDE, "mconv_e3k5g8", "mconv_e3k5g8"),
    "res53_mbconv": arch("res_bnswish5 res_bnswish", WIDE, "res_bnswish5 res_bnswish", NARROW),
    "res35_mbconv": arch("res_bnswish res_bnswish5", WIDE, "res_bnswish res_bnswish5", NARROW),
    "res55_mbconv": arch("res_bnswish5 res_bnswish5", WIDE, "res_bnswish5 res_bnswish5", NARROW),
    "mbconv_res": arch(WIDE, PLAIN, NARROW, PLAIN),
}
"""`cells` option -> part of the network -> ops of its cells, in order (NVAE, released arch table)."""

BRANCH_SCALE = 0.1


class SqueezeExcite(nn.Module):
    """Channel gates from the spatial mean through a bottleneck of max(C // 16, 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 4)
        self.se = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.se(x.mean((2, 3)))[:, :, None, None]


class FactorizedReduce(nn.Module):
    """Halves the resolution: swish, then four 1×1 convolutions, one per pixel of a 2×2 block.

    Pixels are taken before the convolutions, not by their stride: the gradient of the weight of torch
    2.14's strided 1×1 convolution corrupts memory on some CPUs (seen with AVX2) for channels-last tensors.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        quarter = c_out // 4
        self.conv_1 = WeightNormConv2d(c_in, quarter, 1)
        self.conv_2 = WeightNormConv2d(c_in, quarter, 1)
        self.conv_3 = WeightNormConv2d(c_in, quarter, 1)
        self.conv_4 = WeightNormConv2d(c_in, c_out - 3 * quarter, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(x)
        return torch.cat(
            [
                self.conv_1(h[:, :, ::2, ::2]),
                self.conv_2(h[:, :, 1::2, 1::2]),
                self.conv_3(h[:, :, ::2, 1::2]),
                self.conv_4(h[:, :, 1::2, ::2]),
            ],
            dim=1,
        )


def upsampling_skip(c_in: int, c_out: int) -> nn.Sequential:
    """Bilinear doubling (corners aligned), then a 1×1 convolution without bias."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        WeightNormConv2d(c_in, c_out, 1, bias=False),
    )


class Cell(nn.Module):
    """skip(x) + 0.1 · SE(ops(x)); the first op carries the stride and the change of channels.

    The branch of an up cell doubles by nearest neighbour, its skip path bilinearly.
    """

    def __init__(self, ops: tuple[str, ...], c_in: int, c_out: int, stride: int, se: bool) -> None:
        super().__init__()
        self.c_out = c_out
        self.skip: nn.Module = {
            1: lambda: nn.Identity(),
            2: lambda: FactorizedReduce(c_in, c_out),
            -1: lambda: upsampling_skip(c_in, c_out),
        }[stride]()
        first, *rest = ops
        self._ops = nn.ModuleList(
            [OPS[first](c_in, c_out, stride), *(OPS[name](c_out, c_out, 1) for name in rest)]
        )
        self.se = SqueezeExcite(c_out) if se else None

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for op in self._ops:
            h = op(h)
        if self.se is not None:
            h = self.se(h)
        return torch.add(self.skip(x), h, alpha=BRANCH_SCALE)


class EncoderCombiner(nn.Module):
    """x_enc + conv(x_dec): what the encoder saw, and where the decoder is."""

    def __init__(self, c_enc: int, c_dec: int) -> None:
        super().__init__()
        self.conv = WeightNormConv2d(c_dec, c_enc, 1)

    def forward(self, x_enc: Tensor, x_dec: Tensor) -> Tensor:
        return x_enc + self.conv(x_dec)


class DecoderCombiner(nn.Module):
    """conv([h, z]): the latents of a group enter the decoder's feature map."""

    def __init__(self, channels: int, latent: int) -> None:
        super().__init__()
        self.conv = WeightNormConv2d(channels + latent, channels, 1)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        return self.conv(torch.cat([h, z], dim=1))
