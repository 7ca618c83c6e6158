"""VAEBM's energy network: weight-normalised residual blocks without normalisation layers.

As the discriminator of the paper's WGAN: the same blocks with spectral and batch normalisation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_igebm.options import Block, ResNetOptions
from vaebm_igebm.spectral_norm import SpectralNormConv2d
from vaebm_toolkit.core import EnergyFunction, NormalisedConv2d, WeightNormConv2d


class ResNetEnergy(EnergyFunction):
    """E(x) = w · Σ_{h,w} features(x) + b on images in [0, 1] (VAEBM, appendix E).

    conv 3×3, swish/1.1, residual blocks, sum over space, linear. With batch normalisation E(x) depends
    on the other images of a batch in training mode; in eval mode, as in a chain, on running statistics.
    """

    def __init__(self, channels: int, blocks: tuple[Block, ...], options: ResNetOptions) -> None:
        super().__init__()
        width = options.width
        self.conv1 = convolution(channels, width, 3, options.norm)
        self.blocks = nn.ModuleList(ResidualBlock(block, options) for block in blocks)
        self.linear = nn.Linear(width * blocks[-1].outputs, 1)
        self.data_init = options.data_init and options.norm == "weight" and not options.batch_norm

    def forward(self, x: Tensor) -> Tensor:
        h = scaled_swish(self.conv1(x))
        for block in self.blocks:
            h = block(h)
        return self.linear(h.sum((2, 3))).squeeze(1)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Every pre-activation gets mean 0 and std 0.2 per channel on `x`, in forward order.

        The released code does this at the first forward, on five training batches. With spectral norm
        there are no scales to set, and batch normalisation would undo what is set: nothing happens.
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
    """act(pool(conv2(act(conv1(x))) + skip(x))), act = swish/1.1; skip is a 1×1 convolution or nothing.

    With batch normalisation, norm1(conv1(·)) and norm2(conv2(·)), and these have no bias of their own.
    """

    def __init__(self, block: Block, options: ResNetOptions) -> None:
        super().__init__()
        inputs, outputs = options.width * block.inputs, options.width * block.outputs
        bias = not options.batch_norm
        self.conv1 = convolution(inputs, outputs, 3, options.norm, bias)
        self.conv2 = convolution(outputs, outputs, 3, options.norm, bias)
        reshapes = block.down or inputs != outputs
        skip = convolution(inputs, outputs, 1, options.norm, bias=False) if reshapes else None
        self.skip = None if skip is None else nn.Sequential(skip)
        self.norm1 = nn.BatchNorm2d(outputs) if options.batch_norm else None
        self.norm2 = nn.BatchNorm2d(outputs) if options.batch_norm else None
        self.down = block.down

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x)
        h = self.conv2(scaled_swish(h if self.norm1 is None else self.norm1(h)))
        h = h if self.norm2 is None else self.norm2(h)
        h = h + (x if self.skip is None else self.skip(x))
        if self.down:
            h = F.avg_pool2d(h, 2)
        return scaled_swish(h)


def scaled_swish(h: Tensor) -> Tensor:
    """h · sigmoid(h) / 1.1, a swish of Lipschitz constant 1 (Chen et al., Residual Flows, 2019)."""
    return F.silu(h).div_(1.1)


def convolution(inputs: int, outputs: int, size: int, norm: str, bias: bool = True) -> NormalisedConv2d:
    """A convolution that keeps the size of the image, with the effective weight that `norm` names."""
    kind = WeightNormConv2d if norm == "weight" else SpectralNormConv2d
    return kind(inputs, outputs, size, padding=size // 2, bias=bias)


def build(options: ResNetOptions, shape: tuple[int, ...]) -> ResNetEnergy:
    """The energy network for images of `shape` = (C, H, W)."""
    return ResNetEnergy(shape[0], options.blocks(shape), options)
