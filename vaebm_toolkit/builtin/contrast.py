"""What energy trainers share: data against the ends of chains on the model."""

from __future__ import annotations

import copy
import functools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, ClassVar, Literal, Protocol

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
    adam,
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
    they start and how an end becomes data; the generator, where there is one, is fixed unless a
    trainer says otherwise.
    """

    name: ClassVar[str]
    spaces: ClassVar[tuple[Literal["latent", "data", "joint"], ...]]
    """spaces that the sampler may work in, the usual one first"""
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
        if sampler.space not in self.spaces:
            raise RecipeError(
                f"sampler: the trainer {self.name} needs one that works in {self.spaces[0]} space.",
                f"Choose one, e.g. --sampler {self.usual_sampler}; list them: vaebm plugins list sampler",
            )
        if generator is not None and sampler.space != "data":
            generator.check_reparametrised()
        self.options, self.horizon = options, horizon
        self.energy, self.sampler, self.buffer = energy, sampler, buffer
        self.generator = None if generator is None else self.held(generator)
        self.players = {"energy": energy}
        self.optimizer = adam(
            energy.parameters(),
            MomentClippedAdam if options.moment_clip else Adam,
            lr=options.lr,
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
        )
        self.spectral = SpectralPenalty(energy, seed=horizon.seed)
        self.arranged: Callable[[LogDensity], LogDensity] = lambda density: density
        self.average = copy.deepcopy(energy).requires_grad_(False) if options.ema else None

    def held(self, generator: Generator) -> Generator:
        """The generator as the trainer keeps it. Default: a constant."""
        return generator.frozen()

    def fixed_generator(self) -> Generator | None:
        """The generator as a constant while this step's chain runs."""
        return self.generator

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
        loss, metrics = contrast(self.energy, x, self.decode(end), self.spectral, o, self.expectation)
        yield Update("energy", loss, {**metrics, **chain})
        if self.average is not None:
            update_average(self.average, self.energy, ema_decay(o.ema, step))

    def expectation(self, negative: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """E over the model of the energy, from E(x⁻), (N,); and what to log. Default: x⁻ are samples."""
        return mean_of_samples(negative)

    def chain(self, x: Tensor, step: int, rng: torch.Generator) -> tuple[State, dict[str, Tensor]]:
        """Chain ends on the model, and the last step's diagnostics."""
        start = self.start(x, rng)
        if self.buffer is not None:
            start = self.buffer.draw(start, step, rng)
        last: dict[str, Tensor] = {}
        with frozen(self.energy):
            density = self.arranged(target_density(self.sampler, self.fixed_generator(), self.energy))
            start, jumps = self.jump(start, density, rng)
            end = run_chain(
                self.sampler, start, density, rng,
                observe=lambda k, state, diagnostics: last.update(diagnostics),
            )  # fmt: skip
        if self.buffer is not None:
            self.buffer.push(end)
            last.update({k: torch.as_tensor(v) for k, v in self.buffer.metrics().items()})
        return end, {f"chain_{k}": v for k, v in {**last, **jumps}.items()}

    def compile(self) -> bool:
        """The density of chains is compiled. The loss is not: one pass against many in a chain."""
        self.arranged = functools.partial(torch.compile, dynamic=False)
        return True

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


class Penalties(Protocol):
    """The options of a contrast's penalties."""

    @property
    def spectral(self) -> float: ...
    @property
    def energy_l2(self) -> float: ...


Expectation = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]
"""E(x⁻), (N,) -> the mean of E over the model, and what to log."""


def mean_of_samples(negative: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """x⁻ are samples of the model."""
    return negative.mean(), {}


def contrast(
    energy: EnergyFunction,
    x: Tensor,
    negatives: Tensor,
    spectral: SpectralPenalty,
    options: Penalties,
    expectation: Expectation = mean_of_samples,
) -> tuple[Tensor, dict[str, Tensor]]:
    """mean E(x⁺) − mean E(x⁻) + α · (mean E(x⁺)² + mean E(x⁻)²) + α_s · spectral, and its parts.

    Data x⁺ and negatives x⁻, (B, *data shape) and (N, *data shape), pass through E together: where E
    normalises by the batch, it is one function of both.
    """
    positive, negative = energy(torch.cat([x, negatives.to(x.dtype)])).split([len(x), len(negatives)])
    model, found = expectation(negative)
    gap = positive.mean() - model
    loss = gap
    metrics = {"energy_gap": gap, "energy_data": positive.mean(), "energy_samples": model, **found}
    if options.spectral and spectral.convolutions:
        metrics["spectral"] = spectral()
        loss = loss + options.spectral * metrics["spectral"]
    if options.energy_l2:
        loss = loss + options.energy_l2 * (positive.square().mean() + negative.square().mean())
    return loss, metrics


def ema_decay(decay: float, step: int) -> float:
    """The decay of a moving average at `step`: a mean over all steps at first, `decay` in the end."""
    return min(decay, (1 + step) / (10 + step))
