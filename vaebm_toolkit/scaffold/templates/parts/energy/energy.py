"""E(x): convolutions for images, hidden layers for vectors, smooth so that chains can follow its gradient."""

import torch
from torch import Tensor, nn

from vaebm_toolkit.core import EnergyFunction

from . import Options


class Energy(EnergyFunction):
    """E in p(x) ∝ exp(−E(x)): low energy means likely."""

    def __init__(self, options: Options, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.image = len(shape) == 3  # (C, H, W), values in [0, 1]; else (D,)
        layers: list[nn.Module] = []
        size = shape[0]
        for _ in range(options.depth):
            layers += [convolution(size, options.width) if self.image else nn.Linear(size, options.width)]
            layers += [nn.SiLU()]
            size = options.width
        self.features = nn.Sequential(*layers)
        self.output = nn.Linear(size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B,)"""
        h = torch.mean(self.features(2 * x - 1), dim=(2, 3)) if self.image else self.features(x)
        return self.output(h).squeeze(1)


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


def build(options: Options, shape: tuple[int, ...]) -> Energy:
    return Energy(options, shape)
