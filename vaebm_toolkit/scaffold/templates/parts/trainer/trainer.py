"""The energy of VAEBM, trained against chains on h(x, z) ∝ p(x, z) exp(−E(x)) (Xiao et al., 2021)."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vaebm_toolkit import RecipeError, core

from . import Options


class ContrastTrainer(core.Trainer):
    """Minimises mean E(x⁺) − mean E(x⁻) + α (mean E(x⁺)² + mean E(x⁻)²); the generator is fixed.

    x⁺ are data, x⁻ = T(ε) at the ends ε of chains (VAEBM, eq. 5).
    """

    def __init__(
        self,
        options: Options,
        horizon: core.Horizon,
        generator: core.Generator,
        energy: core.EnergyFunction,
        sampler: core.Sampler,
        buffer: core.Buffer | None,
    ) -> None:
        if sampler.space != "latent":
            raise RecipeError("sampler: chains run on the generator's noise.", "Choose --sampler latent-ld")
        generator.check_reparametrised()
        self.generator, self.energy = generator.frozen(), energy
        self.sampler, self.buffer, self.energy_l2 = sampler, buffer, options.energy_l2
        self.players = {"energy": energy}
        self.optimizer = torch.optim.Adam(energy.parameters(), lr=options.lr)
        self.average, self.ema = copy.deepcopy(energy).requires_grad_(False), options.ema

    def prepare(self, batches: Iterator[Tensor], rng: torch.Generator) -> None:
        """Before the first step of a stage: an energy may start from what data look like."""
        self.energy.initialise(next(batches))
        self.average.load_state_dict(self.energy.state_dict())

    def networks(self) -> Mapping[str, nn.Module]:
        """What samples come from: the moving average of the energy's weights."""
        return {"energy": self.average}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"energy": self.optimizer}

    def updates(self, x: Tensor, step: int, rng: torch.Generator) -> Iterator[core.Update]:
        start = core.standard_normal(self.generator.groups, len(x), rng, like=x)
        if self.buffer is not None:
            start = self.buffer.draw(start, step, rng)
        with core.frozen(self.energy):
            density = core.target_density(self.sampler, self.generator, self.energy)
            end = core.run_chain(self.sampler, start, density, rng)
        if self.buffer is not None:
            self.buffer.push(end)
        with torch.no_grad():
            negatives = self.generator.decode(end).x
        positive, negative = self.energy(torch.cat([x, negatives])).chunk(2)
        gap = positive.mean() - negative.mean()
        loss = gap + self.energy_l2 * (positive.square().mean() + negative.square().mean())
        yield core.Update("energy", loss, {"energy_gap": gap})
        core.update_average(self.average, self.energy, min(self.ema, (1 + step) / (10 + step)))

    def extra_state(self) -> dict[str, Any]:
        """Beside players and optimisers: a resumed run draws what an uninterrupted one would."""
        buffer = None if self.buffer is None else self.buffer.state_dict()
        return {"average": self.average.state_dict(), "buffer": buffer}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.average.load_state_dict(state["average"])
        if self.buffer is not None:
            self.buffer.load_state_dict(state["buffer"])


def build(options: Options, **parts: Any) -> ContrastTrainer:
    """`parts`: the horizon, and one per slot of the options."""
    return ContrastTrainer(options, **parts)
