"""What Metropolis-adjusted samplers share: propose, accept row by row, adapt the step in warm-up."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from vaebm_mcmc import adaptation
from vaebm_mcmc.options import HmcOptions, MalaOptions
from vaebm_toolkit.core import LogDensity, Sampler, State, rand, square_norm, value_and_grad

KEPT = "~"
"""Begins the name of whatever a state holds beside its groups."""
STEP_SIZE, LOG_PROB, SCORE = KEPT + "step_size", KEPT + "log_prob", KEPT + "score/"


class Point(NamedTuple):
    """A position, and what proposals from it need of the density."""

    position: State
    log_prob: Tensor
    """(B,)"""
    score: State
    """∇ log density, as it is; proposals clip it"""


Evaluate = Callable[[State], Point]


class Metropolis(Sampler):
    """v ← v′ with probability min(1, π(v′) q(v|v′) / (π(v) q(v′|v))), else v stays (Hastings, 1970).

    π is the density and q the proposal. Every row decides for itself and has a step size of its own.
    The state keeps log π and ∇ log π of its position, so it belongs to one density; for another, or where
    something else has moved the position, begin anew with `init`.
    """

    space: ClassVar[Literal["latent", "data", "joint"]] = "latent"

    def __init__(self, options: MalaOptions | HmcOptions, bounds: tuple[float, float] | None = None) -> None:
        self.steps, self.step_size = options.steps, options.step_size
        self.warmup, self.target_accept = options.warmup, options.target_accept
        self.grad_clip, self.target = options.grad_clip, options.target
        self.bounds = bounds if options.clamped else None
        self.reversible = options.warmup == 0  # no detailed balance while a step size adapts

    @abstractmethod
    def propose(
        self, here: Point, step_size: Tensor, evaluate: Evaluate, rng: torch.Generator
    ) -> tuple[Point, Tensor]:
        """v′ and log [π(v′) q(v|v′) / (π(v) q(v′|v))], (B,); `step_size` is (B,)."""

    def init(self, position: State) -> State:
        for name in position:
            if name.startswith(KEPT):
                raise ValueError(f"A group is called {name!r}: names that begin with {KEPT!r} are taken.")
        state = super().init(position)
        row = next(iter(state.values())).flatten(1)[:, 0]
        step_size = torch.full_like(row, self.step_size)
        kept = adaptation.begin(step_size) if self.warmup else {"step_size": step_size}
        return {**state, **prefixed(kept)}

    def position(self, state: State) -> State:
        return {k: v for k, v in state.items() if not k.startswith(KEPT)}

    def step(
        self, state: State, log_density: LogDensity, rng: torch.Generator
    ) -> tuple[State, Mapping[str, Tensor]]:
        """Diagnostics, means over rows: log π after the step, probability of acceptance, step size."""
        state, acceptance, step_size = self.move(state, log_density, rng)
        means = {"log_prob": state[LOG_PROB], "acceptance": acceptance, "step_size": step_size}
        return state, {k: v.mean() for k, v in means.items()}

    def move(
        self, state: State, log_density: LogDensity, rng: torch.Generator
    ) -> tuple[State, Tensor, Tensor]:
        """The new state, the probability of acceptance and the step size that was used, (B,) each."""
        evaluate = evaluator(log_density)
        here, step_size = unpacked(state) or evaluate(self.position(state)), state[STEP_SIZE]
        there, log_ratio = self.propose(here, step_size, evaluate, rng)
        end, acceptance = decided(here, there, log_ratio, rng)
        return {**packed(end), **self.adapted(state, acceptance)}, acceptance, step_size

    def adapted(self, state: State, acceptance: Tensor) -> State:
        """Each row's step size after a step, and what adapting it keeps."""
        if not self.warmup:
            return {STEP_SIZE: state[STEP_SIZE]}
        kept = {k: state[KEPT + k] for k in ("step_size", "mean_log", "count")}
        return prefixed(adaptation.update(kept, acceptance, self.target_accept, self.warmup))

    def force(self, point: Point) -> State:
        """∇ log π, each element within ± grad_clip: as good a proposal as any, which acceptance corrects."""
        if self.grad_clip is None:
            return point.score
        return {k: g.clamp(-self.grad_clip, self.grad_clip) for k, g in point.score.items()}

    def stationary_variance(self, precision: float) -> float | None:
        """1/λ for any step size."""
        return 1 / precision


def prefixed(kept: Mapping[str, Tensor]) -> State:
    return {KEPT + k: v for k, v in kept.items()}


def packed(point: Point) -> State:
    """A point as entries of a state."""
    return {**point.position, LOG_PROB: point.log_prob, **{SCORE + k: v for k, v in point.score.items()}}


def unpacked(state: State) -> Point | None:
    """Undo `packed`; None at the start of a chain, where the density is not known yet."""
    if LOG_PROB not in state:
        return None
    position = {k: v for k, v in state.items() if not k.startswith(KEPT)}
    return Point(position, state[LOG_PROB], {k: state[SCORE + k] for k in position})


def evaluator(log_density: LogDensity) -> Evaluate:
    return lambda position: Point(position, *value_and_grad(log_density, position))


def decided(here: Point, there: Point, log_ratio: Tensor, rng: torch.Generator) -> tuple[Point, Tensor]:
    """Row by row `there` with probability min(1, exp(log_ratio)), else `here`; and that probability, (B,).

    NaN anywhere, or a density of 0 or ∞ at `there`, is a rejection, and so is a gradient that is not finite:
    no proposal would lead away.
    """
    sound = there.log_prob.isfinite() & square_norm(there.score).isfinite() & ~log_ratio.isnan()
    probability = torch.where(sound, log_ratio.clamp(max=0), -torch.inf).exp()
    accept = rand(probability.shape, rng, like=probability) < probability
    return each(lambda a, b: torch.where(along(accept, a), a, b), there, here), probability


def each(function: Callable[..., Tensor], *points: Point) -> Point:
    """The function of all tensors that stand in the same place."""
    first = points[0]
    return Point(
        {k: function(*(p.position[k] for p in points)) for k in first.position},
        function(*(p.log_prob for p in points)),
        {k: function(*(p.score[k] for p in points)) for k in first.score},
    )


def along(row: Tensor, value: Tensor) -> Tensor:
    """(B,) as (B, 1, …), so that it multiplies `value` (B, …) row by row."""
    return row.view(-1, *[1] * (value.dim() - 1))
