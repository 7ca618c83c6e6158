"""Random-walk Metropolis: exact for any density, without its gradient."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from vaebm_toolkit.core import LogDensity, Sampler, State, rand, randn_like

from . import Options


class Metropolis(Sampler):
    """ε′ = ε + s ω, ω ~ N(0, I), taken with probability min(1, h(ε′) / h(ε)), row by row.

    s = scale / √D for D coordinates; 2.38 is best for many that are independent and of variance 1.
    """

    space: ClassVar[Literal["latent", "data", "joint"]] = "latent"  # states are the generator's noise ε
    reversible = True

    def __init__(self, options: Options) -> None:
        self.steps, self.scale = options.steps, options.scale

    @torch.no_grad()
    def step(
        self, state: State, log_density: LogDensity, rng: torch.Generator
    ) -> tuple[State, Mapping[str, Tensor]]:
        s = self.scale / sum(v[0].numel() for v in state.values()) ** 0.5
        proposal = {name: v + s * randn_like(v, rng) for name, v in state.items()}
        log_ratio = log_density(proposal) - log_density(state)
        accept = rand(log_ratio.shape, rng, like=log_ratio).log() < log_ratio
        moved = {name: torch.where(rows(accept, v), proposal[name], v) for name, v in state.items()}
        return moved, {"accepted": accept.to(log_ratio.dtype).mean()}

    def stationary_variance(self, precision: float) -> float:
        """That of the density itself, since rejections make the chain exact."""
        return 1 / precision


def rows(choice: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, …), to choose whole rows of `like`."""
    return choice.view(-1, *[1] * (like.dim() - 1))


def build(options: Options, bounds: tuple[float, float] | None = None) -> Metropolis:
    """`bounds`, the range of the data, concerns samplers of data: this one moves noise."""
    return Metropolis(options)
