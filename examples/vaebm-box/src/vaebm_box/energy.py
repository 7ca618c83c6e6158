"""E(x) = Σ_i k_i max(|x_i| − side/2, 0)², with learned k_i > 0."""

import torch
from torch import Tensor, nn

from vaebm_box import BoxOptions
from vaebm_toolkit.core import EnergyFunction


class Box(EnergyFunction):
    """x: (B, *shape) -> (B,)"""

    def __init__(self, options: BoxOptions, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.wall = options.side / 2
        self.log_stiffness = nn.Parameter(torch.full(shape, options.stiffness).log())

    def forward(self, x: Tensor) -> Tensor:
        outside = (x.abs() - self.wall).clamp(min=0)
        return (self.log_stiffness.exp() * outside.square()).flatten(1).sum(1)


def build(options: BoxOptions, shape: tuple[int, ...]) -> Box:
    return Box(options, shape)
