"""Stage two: the energy, against chains on h(x, z) ∝ p_θ(x, z) exp(−E(x))."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebm_toolkit.builtin.contrast import ContrastTrainer
from vaebm_toolkit.builtin.trainers import VaebmOptions
from vaebm_toolkit.core import Generator, State, standard_normal


class LatentContrastTrainer(ContrastTrainer):
    """Chains on h run in ε-space, x⁻ = T(ε) (VAEBM, eq. 5)."""

    space, usual_sampler = "latent", "latent-ld"
    options: VaebmOptions
    generator: Generator

    def start(self, x: Tensor, rng: torch.Generator) -> State:
        return standard_normal(self.generator.groups, len(x), rng, like=x)

    @torch.no_grad()
    def decode(self, end: State) -> Tensor:
        """The decoder's sample, within the sampler's bounds if it has any, or its mean."""
        if self.options.negatives == "mean":
            return self.generator.mean(end)
        x = self.generator.decode(end).x
        return x if self.sampler.bounds is None else x.clamp(*self.sampler.bounds)


class VaebmTrainer(LatentContrastTrainer):
    """The generator is fixed, the energy learns (VAEBM, section 3.1)."""

    name = "vaebm"
