"""Step sizes and temperatures from chains of their own, before the measured ones start.

Chains whose step depends on what they have seen leave no density as it is. So a pilot run goes along the
path, and what it finds is a `Plan` that measured chains only follow.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.evaluation.annealing import Plan, transitions
from vaebm_toolkit.evaluation.paths import Path, PathPoint


class Pilot(NamedTuple):
    """How a pilot run looks for step sizes."""

    chains: int = 32
    """all in one batch"""
    rounds: int = 10
    """transitions per temperature, after four times as many at the first"""
    acceptance: float = 0.7
    """aimed at. Best is 0.65 for long trajectories (Neal, 2011), 0.57 for one step, MALA (Roberts and
    Rosenthal, 1998)"""
    knots: int = 40
    """`tuned`: temperatures at which a step size is found; between them log η is interpolated in k"""

    def spent(self, leapfrog: int, temperatures: int) -> int:
        """Energies computed, one for a row."""
        return self.chains * (1 + leapfrog * self.rounds * (4 + temperatures))


USUAL = Pilot()


def tuned(
    path: Path, betas: list[float], rng: torch.Generator, *, leapfrog: int = 3, moves: int = 1,
    pilot: Pilot = USUAL,
) -> Plan:  # fmt: skip
    """The plan with the temperatures given."""
    last = len(betas) - 1
    knots = sorted({round(1 + (last - 1) * i / max(pilot.knots - 1, 1)) for i in range(pilot.knots)})
    point, step = _start(path, pilot, betas[knots[0]], leapfrog, rng)
    log_steps = []
    for k in knots:
        point, step = settled(path, point, betas[k], step, leapfrog, pilot.rounds, pilot.acceptance, rng)
        log_steps.append(math.log(step))
    step_sizes = [math.exp(_interpolated(k, knots, log_steps)) for k in range(last + 1)]
    return Plan(betas, step_sizes, leapfrog, moves, pilot.spent(leapfrog, len(knots)))


def spaced(
    path: Path, rng: torch.Generator, *, ess: float = 0.99, most: int = 10_000, leapfrog: int = 3,
    moves: int = 1, pilot: Pilot = Pilot(),  # noqa: B008
) -> Plan:  # fmt: skip
    """The plan whose temperatures lie as close as the density asks for.

    From β, the next one is where weights exp((β′ − β) log (f₁/f₀)) of the pilot's chains have a relative
    effective sample size of `ess` (conditional ESS; Zhou, Johansen and Aston, 2016), and at least
    1 / `most` away.
    """
    beta, betas, step_sizes = 0.0, [0.0], [1.0]
    point, step = _start(path, pilot, 1 / most, leapfrog, rng)
    while True:
        beta = min(1.0, beta + max(1 / most, reach(point.ratio, ess, 1 - beta)))
        point, step = settled(path, point, beta, step, leapfrog, pilot.rounds, pilot.acceptance, rng)
        betas.append(beta)
        step_sizes.append(step)
        if beta == 1:
            return Plan(betas, step_sizes, leapfrog, moves, pilot.spent(leapfrog, len(betas) - 1))


def reach(ratio: Tensor, ess: float, most: float) -> float:
    """The largest Δ ≤ `most` for which weights exp(Δ ratio) have a relative ESS of at least `ess`."""
    finite = ratio[torch.isfinite(ratio)].double()
    if not len(finite) or float(effective(most * finite)) >= ess:
        return most
    low, high = 0.0, most
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if float(effective(middle * finite)) >= ess else (low, middle)
    return low


def effective(log_weight: Tensor) -> Tensor:
    """(Σ w)² / (N Σ w²), 0-d, between 1/N and 1."""
    log_sum, log_squares = torch.logsumexp(log_weight, 0), torch.logsumexp(2 * log_weight, 0)
    return (2 * log_sum - log_squares).exp() / len(log_weight)


def settled(
    path: Path, point: PathPoint, beta: float, step: float, leapfrog: int, rounds: int, target: float,
    rng: torch.Generator,
) -> tuple[PathPoint, float]:  # fmt: skip
    """The point after `rounds` transitions, and the step size they lead to: log η += a − target after each,
    a the mean acceptance; the geometric mean of the second half (after Robbins and Monro, 1951)."""
    log_step, found = math.log(step), []
    for _ in range(rounds):
        point, accepted = transitions(path, point, beta, math.exp(log_step), leapfrog, 1, rng)
        log_step += float(accepted) - target
        found.append(log_step)
    half = found[len(found) // 2 :]
    return point, math.exp(sum(half) / len(half))


def _start(
    path: Path, pilot: Pilot, beta: float, leapfrog: int, rng: torch.Generator
) -> tuple[PathPoint, float]:
    """Chains from the base, and a step size that suits the first temperature."""
    state = path.sample_base(pilot.chains, rng)
    dimensions = sum(v[0].numel() for v in state.values())
    step = dimensions**-0.25  # what the base asks for
    point = path.point(state, beta)
    _, step = settled(path, point, beta, step, leapfrog, 4 * pilot.rounds, pilot.acceptance, rng)
    return point, step


def _interpolated(k: int, knots: list[int], values: list[float]) -> float:
    """Piecewise linear in k, constant beyond the ends."""
    right = bisect_left(knots, k)
    if right == 0:
        return values[0]
    if right == len(knots):
        return values[-1]
    a, b = knots[right - 1], knots[right]
    t = (k - a) / (b - a)
    return (1 - t) * values[right - 1] + t * values[right]
