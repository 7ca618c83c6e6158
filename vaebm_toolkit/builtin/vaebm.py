"""Stage two: the energy, against chains on h(x, z) ∝ p_θ(x, z) exp(−E(x))."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebm_toolkit import RecipeError
from vaebm_toolkit.builtin.contrast import ContrastTrainer
from vaebm_toolkit.builtin.trainers import VaebmOptions
from vaebm_toolkit.core import Generator, LogDensity, State, prior_jumps, standard_normal


class LatentContrastTrainer(ContrastTrainer):
    """Chains on h run in ε-space, x⁻ = T(ε) (VAEBM, eq. 5)."""

    spaces, usual_sampler = ("latent",), "latent-ld"
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


class VaebmTrainer(LatentContrastTrainer):
    """The generator is fixed, the energy learns (VAEBM, section 3.1).

    With a sampler in joint space, chains on h run on (z, x) themselves (VAEBM, appendix).
    """

    name, spaces = "vaebm", ("latent", "joint")

    def held(self, generator: Generator) -> Generator:
        if self.sampler.space == "joint" and not generator.invertible:
            raise RecipeError(
                "sampler: chains on (z, x) need a generator that has an inverse, which this one has not.",
                f"Let them run on its noise: --sampler {self.usual_sampler}",
            )
        if self.sampler.space == "joint" and self.options.prior_jumps:
            raise RecipeError(
                "trainer.prior_jumps: the jumps are to draws of ε, but these chains run on (z, x).",
                f"Leave them out, or let chains run on noise: --sampler {self.usual_sampler}",
            )
        return super().held(generator)

    @torch.no_grad()
    def start(self, x: Tensor, rng: torch.Generator) -> State:
        eps = super().start(x, rng)
        return self.generator.values(eps) if self.sampler.space == "joint" else eps

    @torch.no_grad()
    def decode(self, end: State) -> Tensor:
        """As in ε-space: T(ε) there is x itself here."""
        return super().decode(self.generator.noise(end)[0] if self.sampler.space == "joint" else end)
