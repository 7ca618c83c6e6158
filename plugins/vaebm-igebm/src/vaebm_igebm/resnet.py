"""VAEBM's energy network: weight-normalised residual blocks without normalisation layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_igebm.options import Block, ResNetOptions
from vaebm_toolkit.core import EnergyFunction, WeightNormConv2d


class ResNetEnergy(EnergyFunction):
    """E(x) = w · Σ_{h,w} features(x) + b on images in [0, 1] (VAEBM, appendix E).

    conv 3×3, swish/1.1, residual blocks, sum over space, linear.
    """

    def __init__(self, channels: int, width: int, blocks: tuple[Block, ...], data_init: bool = True) -> None:
        super().__init__()
        self.conv1 = WeightNormConv2d(channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            ResidualBlock(width * b.inputs, width * b.outputs, b.down) for b in blocks
        )
        self.linear = nn.Linear(width * blocks[-1].outputs, 1)
        self.data_init = data_init

    def forward(self, x: Tensor) -> Tensor:
        h = scaled_swish(self.conv1(x))
        for block in self.blocks:
            h = block(h)
        return self.linear(h.sum((2, 3))).squeeze(1)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Every pre-activation gets mean 0 and std 0.2 per channel on `x`, in forward order.

        The released code does this at the first forward, on five training batches.
        """
        if not self.data_init:
            return
        convolutions = [m for m in self.modules() if isinstance(m, WeightNormConv2d)]
        hooks = [c.register_forward_pre_hook(lambda c, inputs: c.initialise(*inputs)) for c in convolutions]
        try:
            self(x)
        finally:
            for hook in hooks:
                hook.remove()


class ResidualBlock(nn.Module):
    """act(pool(conv2(act(conv1(x))) + skip(x))), act = swish/1.1; skip is a 1×1 convolution or nothing."""

    def __init__(self, inputs: int, outputs: int, down: bool) -> None:
        super().__init__()
        self.conv1 = WeightNormConv2d(inputs, outputs, 3, padding=1)
        self.conv2 = WeightNormConv2d(outputs, outputs, 3, padding=1)
        reshapes = down or inputs != outputs
        self.skip = nn.Sequential(WeightNormConv2d(inputs, outputs, 1, bias=False)) if reshapes else None
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(scaled_swish(self.conv1(x)))
        h = h + (x if self.skip is None else self.skip(x))
        if self.down:
            h = F.avg_pool2d(h, 2)
        return scaled_swish(h)


def scaled_swish(h: Tensor) -> Tensor:
    """h · sigmoid(h) / 1.1, a swish of Lipschitz constant 1 (Chen et al., Residual Flows, 2019)."""
    return F.silu(h).div_(1.1)


def build(options: ResNetOptions, shape: tuple[int, ...]) -> ResNetEnergy:
    """The energy network for images of `shape` = (C, H, W)."""
    return ResNetEnergy(shape[0], options.width, options.blocks(shape), options.data_init)
