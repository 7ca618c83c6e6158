"""What energy trainers share: data against the ends of chains on the model."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from vaebm_toolkit import RecipeError
from vaebm_toolkit.builtin.trainers import EbmOptions, VaebmExactOptions, VaebmOptions
from vaebm_toolkit.core import (
    Buffer,
    EnergyFunction,
    Generator,
    Horizon,
    LogDensity,
    MomentClippedAdam,
    Sampler,
    SpectralPenalty,
    State,
    Trainer,
    Update,
    frozen,
    run_chain,
    set_lr,
    target_density,
    update_average,
    warmup_cosine,
)


class ContrastTrainer(Trainer):
    """Minimises mean E(x⁺) − mean E(x⁻) + α · mean(E(x⁺)² + E(x⁻)²) + α_s · spectral.

    x⁺ are data, x⁻ the ends of chains on the model. A trainer says in which space they run, where
    they start and how an end becomes data; the generator, where there is one, is fixed.
    """

    name: ClassVar[str]
    space: ClassVar[Literal["latent", "data"]]
    usual_sampler: ClassVar[str]

    def __init__(
        self,
        options: VaebmOptions | VaebmExactOptions | EbmOptions,
        horizon: Horizon,
        generator: Generator | None,
        energy: EnergyFunction,
        sampler: Sampler,
        buffer: Buffer | None,
    ) -> None:
        if sampler.space != self.space:
            raise RecipeError(
                f"sampler: the trainer {self.name} needs one that works in {self.space} space.",
                f"Choose one, e.g. --sampler {self.usual_sampler}; list them: vaebm plugins list sampler",
            )
        if generator is not None and self.space == "latent":
            generator.check_reparametrised()
        self.options, self.horizon = options, horizon
        self.generator = None if generator is None else generator.frozen()
        self.energy, self.sampler, self.buffer = energy, sampler, buffer
        self.players = {"energy": energy}
        adam = MomentClippedAdam if options.moment_clip else Adam
        self.optimizer = adam(
            energy.parameters(),
            lr=options.lr,
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
        )
        self.spectral = SpectralPenalty(energy, seed=horizon.seed)
        self.average = copy.deepcopy(energy).requires_grad_(False) if options.ema else None

    @abstractmethod
    def start(self, x: Tensor, rng: torch.Generator) -> State:
        """Fresh chain starts, as many as x has rows."""

    @abstractmethod
    def decode(self, end: State) -> Tensor:
        """x⁻ of the loss, (B, *data shape), without gradient."""

    def optimizers(self) -> Mapping[str, Optimizer]:
        return {"energy": self.optimizer}

    def networks(self) -> Mapping[str, nn.Module]:
        return {"energy": self.energy if self.average is None else self.average}

    def prepare(self, batches: Iterator[Tensor], rng: torch.Generator) -> None:
        if self.options.init_batches:
            self.energy.initialise(torch.cat(list(islice(batches, self.options.init_batches))))
        if self.average is not None:
            self.average.load_state_dict(self.energy.state_dict())

    def updates(self, x: Tensor, step: int, rng: torch.Generator) -> Iterator[Update]:
        o = self.options
        if o.lr_min is not None:
            set_lr(
                self.optimizer,
                warmup_cosine(step, peak=o.lr, floor=o.lr_min, warmup=0, total=self.horizon.steps),
            )
        end, chain = self.chain(x, step, rng)
        negatives = self.decode(end)
        energy = self.energy(torch.cat([x, negatives.to(x.dtype)]))
        positive, negative = energy.split([len(x), len(negatives)])
        model, found = self.expectation(negative)
        gap = positive.mean() - model
        loss = gap
        metrics = {
            "energy_gap": gap,
            "energy_data": positive.mean(),
            "energy_samples": model,
            **chain,
            **found,
        }
        if o.spectral and self.spectral.convolutions:
            metrics["spectral"] = self.spectral()
            loss = loss + o.spectral * metrics["spectral"]
        if o.energy_l2:
            loss = loss + o.energy_l2 * (positive.square().mean() + negative.square().mean())
        yield Update("energy", loss, metrics)
        if self.average is not None:
            update_average(self.average, self.energy, min(o.ema, (1 + step) / (10 + step)))

    def expectation(self, negative: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """E over the model of the energy, from E(x⁻), (N,); and what to log. Default: x⁻ are samples."""
        return negative.mean(), {}

    def chain(self, x: Tensor, step: int, rng: torch.Generator) -> tuple[State, dict[str, Tensor]]:
        """Chain ends on the model, and the last step's diagnostics."""
        start = self.start(x, rng)
        if self.buffer is not None:
            start = self.buffer.draw(start, step, rng)
        last: dict[str, Tensor] = {}
        with frozen(self.energy):
            density = target_density(self.sampler, self.generator, self.energy)
            start, jumps = self.jump(start, density, rng)
            end = run_chain(
                self.sampler, start, density, rng,
                observe=lambda k, state, diagnostics: last.update(diagnostics),
            )  # fmt: skip
        if self.buffer is not None:
            self.buffer.push(end)
            last.update({k: torch.as_tensor(v) for k, v in self.buffer.metrics().items()})
        return end, {f"chain_{k}": v for k, v in {**last, **jumps}.items()}

    def jump(
        self, state: State, density: LogDensity, rng: torch.Generator
    ) -> tuple[State, dict[str, Tensor]]:
        """Moves before the sampler's own, and what to log. Default: none."""
        return state, {}

    def extra_state(self) -> dict[str, Any]:
        return {
            "spectral": self.spectral.state_dict(),
            "buffer": None if self.buffer is None else self.buffer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.spectral.load_state_dict(state["spectral"])
        if self.buffer is not None:
            self.buffer.load_state_dict(state["buffer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
