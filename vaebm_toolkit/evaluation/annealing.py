"""Annealed importance sampling (Neal, 2001), forwards and backwards, for one batch of chains.

Forwards, ε₀ ~ f₀; for k = 1 … K: log w += (β_k − β_{k−1}) log (f₁/f₀)(ε); then, for k < K, transitions that
leave π_{β_k} as it is. E[w] = Z for any number of temperatures and any such transitions. Backwards from
ε ~ π₁ through the same temperatures, in reverse order, E[w′] = 1/Z (Grosse, Ghahramani and Adams, 2015).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.core import State, rand
from vaebm_toolkit.core.hmc import hmc_step
from vaebm_toolkit.evaluation.paths import Path, PathPoint

JITTER = 0.2  # step sizes vary by ± 20 % from row to row: one fixed length can be a period of the density


class Plan(NamedTuple):
    """How chains move. It is settled before they start, or their weights would not estimate Z."""

    betas: list[float]
    """K + 1 inverse temperatures, β₀ = 0 < … < β_K = 1"""
    step_sizes: list[float]
    """one η per temperature; those of the first and the last are not used"""
    leapfrog: int
    """leapfrog steps per transition; 1 is MALA"""
    moves: int
    """transitions per temperature"""
    spent: int = 0
    """energies computed to find all this, one for a row"""

    @property
    def evaluations(self) -> int:
        """Energies per chain: one at the start, `leapfrog` per transition."""
        return 1 + (len(self.betas) - 2) * self.moves * self.leapfrog


class Annealed(NamedTuple):
    """One batch of chains at the other end of the path."""

    log_weight: Tensor
    """(B,) float64; not finite where the weight is 0"""
    end: State
    """forwards: E[w f(end)] / E[w] = E_h[f]"""
    acceptance: Tensor
    """(K − 1,), means over chains and moves, from the smallest β to the largest"""


def linear(temperatures: int) -> list[float]:
    """β_k = k / K"""
    return [k / temperatures for k in range(temperatures)] + [1.0]


def sigmoidal(temperatures: int, slope: float = 4.0) -> list[float]:
    """β_k = (s(δ(2k/K − 1)) − s(−δ)) / (s(δ) − s(−δ)), s the logistic function, δ = `slope`.

    Dense at both ends (Grosse et al., 2015; δ = 4 there).
    """

    def logistic(t: float) -> float:
        return 1 / (1 + math.exp(-slope * t))

    low, high = logistic(-1), logistic(1)
    steps = [(logistic(2 * k / temperatures - 1) - low) / (high - low) for k in range(1, temperatures)]
    return [0.0, *steps, 1.0]


def forward(path: Path, plan: Plan, n: int, rng: torch.Generator) -> Annealed:
    """n chains from the base: E[w] = Z, so E[log of a mean of w] ≤ log Z (Jensen)."""
    start = path.sample_base(n, rng)
    return _along(path, start, plan.betas, plan.step_sizes, plan.leapfrog, plan.moves, rng)


def reverse(path: Path, plan: Plan, start: State, rng: torch.Generator) -> Annealed:
    """Chains from samples of h: E[w′] = 1/Z, so E[−log of a mean of w′] ≥ log Z (Jensen).

    Starts from q instead of h give E[w′] = c/Z, c the mean of q/h over the ends of forward chains.
    So it can fail by log c, which is at most the logarithm of the largest q/h; it holds where
    forward chains end as h, and it fails where they and q miss the same part of h.
    Where a share of the base has no finite energy, E[w′] = (1 − share)/Z: the bound is looser.
    """
    betas, step_sizes = plan.betas[::-1], plan.step_sizes[::-1]
    found = _along(path, start, betas, step_sizes, plan.leapfrog, plan.moves, rng)
    return found._replace(acceptance=found.acceptance.flip(0))


def _along(
    path: Path, start: State, betas: list[float], step_sizes: list[float], leapfrog: int, moves: int,
    rng: torch.Generator,
) -> Annealed:  # fmt: skip
    """log w = Σ (β′ − β) log (f₁/f₀) over neighbours β, β′, with transitions at β′ but for the last."""
    point = path.point(start, betas[0])
    log_weight = torch.zeros_like(point.ratio, dtype=torch.float64)
    acceptance = []
    for (beta, after), step_size in zip(pairwise(betas), step_sizes[1:], strict=True):
        log_weight += (after - beta) * point.ratio.double()
        if after != betas[-1]:
            point, accepted = transitions(path, point, after, step_size, leapfrog, moves, rng)
            acceptance.append(accepted)
    rates = torch.stack(acceptance) if acceptance else log_weight.new_zeros(0)
    return Annealed(log_weight, point.state, rates)


def transitions(
    path: Path, point: PathPoint, beta: float, step_size: float, leapfrog: int, moves: int,
    rng: torch.Generator,
) -> tuple[PathPoint, Tensor]:  # fmt: skip
    """`moves` transitions under π_β and their mean acceptance probability, 0-d."""

    def evaluate(state: State) -> PathPoint:
        return path.point(state, beta)

    point, total = point.at(beta), torch.zeros((), dtype=torch.float64, device=point.log_prob.device)
    for _ in range(moves):
        factor = 1 + JITTER * (2 * rand(point.log_prob.shape, rng, like=point.log_prob) - 1)
        point, accepted = hmc_step(point, evaluate, step_size * factor, leapfrog, rng)
        total = total + accepted.double().mean() / moves
    return point, total
