"""Stage two without chains: what the sampler costs is the difference to this."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaebm_toolkit import RecipeError
from vaebm_toolkit.builtin.contrast import ContrastTrainer
from vaebm_toolkit.builtin.trainers import VaebmExactOptions
from vaebm_toolkit.core import EnergyFunction, Generator, Horizon, Sampler, State, ranks, standard_normal

DIMENSIONS = 16  # beyond, next to all weight falls on a few of some thousand draws


class ExactTrainer(ContrastTrainer):
    """Minimises mean E(x⁺) + log Z, Z = E[exp(−E(x))] over x ~ p_θ, so h = p_θ exp(−E) / Z is normalised.

    ∇ log Z = −E_h[∇E(x)] by self-normalised importance weights: −Σ w_i ∇E(x_i), x_i ~ p_θ,
    w_i = exp(−E(x_i)) / Σ_j exp(−E(x_j)). Its bias is O(1/draws), and no chain has to mix.
    """

    name, spaces, usual_sampler = "vaebm-exact", ("latent",), "latent-ld"
    options: VaebmExactOptions
    generator: Generator

    def __init__(
        self,
        options: VaebmExactOptions,
        horizon: Horizon,
        generator: Generator,
        energy: EnergyFunction,
        sampler: Sampler,
    ) -> None:
        size = math.prod(generator.groups["x"])
        if size > DIMENSIONS:
            raise RecipeError(
                f"trainer: vaebm-exact weighs samples of the generator, which works for data of at most "
                f"{DIMENSIONS} values, and these have {size}.",
                "Train against chains: --trainer vaebm",
            )
        if ranks.world() > 1:
            raise RecipeError(
                "trainer: the weights of vaebm-exact are shares of all draws, which "
                f"{ranks.world()} processes do not have together.",
                "Run it in one process, without --devices.",
            )
        super().__init__(options, horizon, generator, energy, sampler, None)

    def start(self, x: Tensor, rng: torch.Generator) -> State:
        return standard_normal(self.generator.groups, self.options.draws, rng, like=x)

    def chain(self, x: Tensor, step: int, rng: torch.Generator) -> tuple[State, dict[str, Tensor]]:
        """`draws` samples of the prior: no chain."""
        return self.start(x, rng), {}

    def compile(self) -> bool:
        return False

    @torch.no_grad()
    def decode(self, end: State) -> Tensor:
        return self.generator.decode(end).x

    def expectation(self, negative: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Σ w_i E(x_i), w without gradient; and 1 / Σ w², the number of draws that count."""
        weight = torch.softmax(-negative.detach(), 0)
        return (weight * negative).sum(), {"effective_sample_size": 1 / weight.square().sum()}
