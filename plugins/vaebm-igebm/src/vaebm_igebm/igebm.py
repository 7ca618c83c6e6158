"""IGEBM's energy network: spectrally normalised residual blocks, with or without classes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_igebm.options import LAYOUTS, Block, IGEBMOptions
from vaebm_igebm.spectral_norm import SpectralNormConv2d
from vaebm_toolkit.core import EnergyFunction


class IGEBMEnergy(EnergyFunction):
    """E(x) = w · Σ_{h,w} relu(features(x)) + b on images in [0, 1] (Du & Mordatch, 2019).

    conv 3×3, leaky ReLU 0.2, residual blocks, ReLU, sum over space, linear. With classes, E(x|y)
    modulates each convolution of a block by y; without a label the energy is the marginal's.
    """

    def __init__(self, channels: int, options: IGEBMOptions) -> None:
        super().__init__()
        width, blocks = options.width, LAYOUTS["cifar10"]
        always, iterations = options.advance == "always", options.iterations
        self.conv1 = SpectralNormConv2d(
            channels, width, 3, padding=1, always=always, iterations=iterations, bound=options.bound == "all"
        )
        self.blocks = nn.ModuleList(ClassResidualBlock(block, options) for block in blocks)
        self.linear = nn.Linear(width * blocks[-1].outputs, 1)
        self.classes, self.label = options.classes, options.label

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """E(x), E(x|label) or E(x|labels), (B,); labels: (B,) whole numbers from 0."""
        if labels is None and self.label is not None:
            labels = torch.full((len(x),), self.label, device=x.device)
        if labels is None and self.classes is not None:
            return self.marginal(x, self.classes)
        return self.conditional(x, labels)

    def conditional(self, x: Tensor, labels: Tensor | None) -> Tensor:
        h = F.leaky_relu(self.conv1(x), 0.2)
        for block in self.blocks:
            h = block(h, labels)
        return self.linear(F.relu(h).sum((2, 3))).squeeze(1)

    def marginal(self, x: Tensor, classes: int) -> Tensor:
        """−log mean_y exp(−E(x|y)), classes equally likely; one pass over classes · B images."""
        labels = torch.arange(classes, device=x.device).repeat_interleave(len(x))
        energies = self.conditional(x.repeat(classes, 1, 1, 1), labels).unflatten(0, (classes, -1))
        return math.log(classes) - torch.logsumexp(-energies, 0)


class ClassResidualBlock(nn.Module):
    """act(pool(conv2(act(conv1(x))) + skip(x))), act = leaky ReLU 0.2; skip is a 1×1 convolution or nothing.

    With classes, h ← w(y) · h + b(y) after each of the two convolutions replaces their biases.
    """

    def __init__(self, block: Block, options: IGEBMOptions) -> None:
        super().__init__()
        inputs, outputs = options.width * block.inputs, options.width * block.outputs
        shared = {"always": options.advance == "always", "iterations": options.iterations}
        every, second = options.bound == "all", options.bound != "none"
        bias = options.classes is None
        self.conv1 = SpectralNormConv2d(inputs, outputs, 3, padding=1, bias=bias, bound=every, **shared)
        self.conv2 = SpectralNormConv2d(
            outputs, outputs, 3, padding=1, bias=bias, bound=second, std=1e-10, **shared
        )
        self.class_embed = None if options.classes is None else class_embedding(options.classes, outputs)
        reshapes = block.down or inputs != outputs
        skip = SpectralNormConv2d(inputs, outputs, 1, bias=False, bound=every, **shared) if reshapes else None
        self.skip = None if skip is None else nn.Sequential(skip)
        self.down = block.down

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.class_embed is None:
            h = self.conv2(F.leaky_relu(self.conv1(x), 0.2))
        else:
            w1, w2, b1, b2 = self.class_embed(labels)[:, :, None, None].chunk(4, 1)
            h = w2 * self.conv2(F.leaky_relu(w1 * self.conv1(x) + b1, 0.2)) + b2
        h = h + (x if self.skip is None else self.skip(x))
        if self.down:
            h = F.avg_pool2d(h, 2)
        return F.leaky_relu(h, 0.2)


def class_embedding(classes: int, channels: int) -> nn.Embedding:
    """(classes, 4 · channels): w1 and w2 start at 1, b1 and b2 at 0."""
    embedding = nn.Embedding(classes, 4 * channels)
    with torch.no_grad():
        embedding.weight[:, : 2 * channels] = 1
        embedding.weight[:, 2 * channels :] = 0
    return embedding


def build(options: IGEBMOptions, shape: tuple[int, ...]) -> IGEBMEnergy:
    """The energy network for images of `shape` = (C, H, W)."""
    options.check(shape)
    return IGEBMEnergy(shape[0], options)
