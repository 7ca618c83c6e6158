"""Stage two: the energy, against chains on h(x, z) ∝ p_θ(x, z) exp(−E(x))."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebm_toolkit.builtin.contrast import ContrastTrainer
from vaebm_toolkit.builtin.trainers import VaebmOptions
from vaebm_toolkit.core import Generator, LogDensity, State, prior_jumps, standard_normal


class VaebmTrainer(ContrastTrainer):
    """Chains on h run in ε-space, x⁻ = T(ε) (VAEBM, eq. 5)."""

    name, space, usual_sampler = "vaebm", "latent", "latent-ld"
    options: VaebmOptions
    generator: Generator

    def start(self, x: Tensor, rng: torch.Generator) -> State:
        return standard_normal(self.generator.groups, len(x), rng, like=x)

    def jump(
        self, state: State, density: LogDensity, rng: torch.Generator
    ) -> tuple[State, dict[str, Tensor]]:
        """Moves of the starts, fresh and stored ones alike, to other draws of the prior."""
        if not self.options.prior_jumps:
            return state, {}
        state, accepted = prior_jumps(state, density, self.options.prior_jumps, rng)
        return state, {"jumps_accepted": accepted}

    @torch.no_grad()
    def decode(self, end: State) -> Tensor:
        """The decoder's sample, within the sampler's bounds if it has any, or its mean."""
        if self.options.negatives == "mean":
            return self.generator.mean(end)
        x = self.generator.decode(end).x
        return x if self.sampler.bounds is None else x.clamp(*self.sampler.bounds)
