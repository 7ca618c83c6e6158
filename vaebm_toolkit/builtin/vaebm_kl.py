"""Stage two with a moving decoder: the energy by eq. 5, the decoder by D_KL(p_θ(x) ‖ h(x))."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaebm_toolkit import RecipeError
from vaebm_toolkit.builtin.contrast import ema_decay
from vaebm_toolkit.builtin.moving import follow_cosine, ready_to_move
from vaebm_toolkit.builtin.moving_options import VaebmKlOptions
from vaebm_toolkit.builtin.vaebm import LatentContrastTrainer
from vaebm_toolkit.core import (
    Buffer,
    EnergyFunction,
    Generator,
    Horizon,
    Sampler,
    State,
    Update,
    adam,
    frozen,
    standard_normal,
    update_average,
)


class VaebmKlTrainer(LatentContrastTrainer):
    """Energy and decoder in turn (VAEBM, appendix).

    The decoder's gradient is ∂_θ E_ε[E(T_θ(ε))], that of D_KL(p_θ ‖ h) with h's own θ held fixed
    (docs/mathematics.md). What `decode` does not use, e.g. an encoder, gets no gradient and stays.
    """

    name = "vaebm-kl"
    options: VaebmKlOptions

    def __init__(
        self,
        options: VaebmKlOptions,
        horizon: Horizon,
        generator: Generator,
        energy: EnergyFunction,
        sampler: Sampler,
        buffer: Buffer | None,
    ) -> None:
        if buffer is not None:
            raise RecipeError(
                "buffer: the trainer vaebm-kl moves the decoder, and kept chains belong to an older one.",
                "Start every chain anew: --buffer none",
            )
        super().__init__(options, horizon, generator, energy, sampler, None)
        self.players = {"energy": energy, "generator": self.generator}
        # MomentClippedAdam is for the energy alone
        betas = options.generator_beta1, options.beta2
        self.generator_optimizer = adam(self.generator.parameters(), lr=options.generator_lr, betas=betas)
        self.generator_average = copy.deepcopy(generator).requires_grad_(False) if options.ema else None

    def held(self, generator: Generator) -> Generator:
        return ready_to_move(generator, self.name)

    def fixed_generator(self) -> Generator:
        """A constant copy of the current decoder, made anew for every chain.

        On a small NVAE (5 groups, 16 channels, 16 × 16) that costs 18 ms, and 10 steps then take 1.4 s
        instead of the 2.5 s of the network itself under `core.frozen` (one CPU thread).
        """
        return self.generator.frozen()

    def optimizers(self) -> Mapping[str, Optimizer]:
        return {"energy": self.optimizer, "generator": self.generator_optimizer}

    def networks(self) -> Mapping[str, nn.Module]:
        average = self.generator_average
        return {**super().networks(), "generator": self.generator if average is None else average}

    def updates(self, x: Tensor, step: int, rng: torch.Generator) -> Iterator[Update]:
        o = self.options
        yield from super().updates(x, step, rng)
        follow_cosine(self.generator_optimizer, step, self.horizon, o.generator_lr, o.generator_lr_min)
        eps = standard_normal(self.generator.groups, len(x), rng, like=x)
        yield Update("generator", self.generated_energy(eps).mean(), {})
        if self.generator_average is not None:
            update_average(self.generator_average, self.generator, ema_decay(o.ema, step))

    def generated_energy(self, eps: State) -> Tensor:
        """E(T_θ(ε)), (B,), with gradient in θ alone: x is what the chain's density gives to E.

        That is the decoder's sample whatever `negatives` is, within the sampler's bounds if it has any.
        """
        x = self.generator.decode(eps).x
        if self.sampler.bounds is not None:
            x = x.clamp(*self.sampler.bounds)
        with frozen(self.energy):
            energy: Tensor = self.energy(x)
        return energy

    def extra_state(self) -> dict[str, Any]:
        average = self.generator_average
        return {
            **super().extra_state(),
            "generator_average": None if average is None else average.state_dict(),
        }

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        super().load_extra_state(state)
        if self.generator_average is not None:
            self.generator_average.load_state_dict(state["generator_average"])
