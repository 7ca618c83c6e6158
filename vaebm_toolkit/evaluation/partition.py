"""log Z = log E[exp(−E(x))], x ~ p_θ, from both sides (VAEBM, eq. 2 and 3).

Chain or draw i has streams of its own, so nothing depends on how many are computed at once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.core import RowStreams, State, stream
from vaebm_toolkit.core.state import batch_size as count
from vaebm_toolkit.core.state import rows
from vaebm_toolkit.evaluation.annealing import Annealed, Plan, forward, reverse
from vaebm_toolkit.evaluation.paths import Path
from vaebm_toolkit.evaluation.weights import WeightStream

BLOCK = 1024  # draws that share a stream: one stream each would cost more than a small energy


class LogZ(NamedTuple):
    """An estimate of log Z whose expectation lies on one side of it."""

    value: float
    """nats"""
    error: float
    """standard error that the draws leave, by the spread of the weights; too small where `ess` is"""
    ess: float
    """effective number of weights, of `draws`"""
    draws: int
    without: int
    """draws of weight 0, as their energy is not finite"""
    evaluations: int
    """energies computed, one for a row, without `Plan.spent`"""
    acceptance: Tensor | None = None
    """(K − 1,), by temperature; None where no chain ran"""


class Bounds(NamedTuple):
    """log Z from below and from above."""

    lower: LogZ
    """E[lower] ≤ log Z, always"""
    upper: LogZ | None
    """E[upper] ≥ log Z, where the reverse chains start from h itself; see `annealing.reverse`"""

    @property
    def gap(self) -> float:
        """upper − lower, nats: small only where both are good, if the starts are exact."""
        return math.inf if self.upper is None else self.upper.value - self.lower.value

    def within(self, doubt: float) -> tuple[float, float]:
        """The range that holds log Z with a probability of at least 1 − `doubt`, for any weights at all.

        A mean of positive weights exceeds b times its expectation with probability 1/b at most (Markov), so
        each side may be wrong with doubt / 2: lower − log (2 / doubt), upper + log (2 / doubt).
        """
        slack = math.log(2 / doubt)
        return self.lower.value - slack, math.inf if self.upper is None else self.upper.value + slack


@torch.no_grad()
def by_samples(
    path: Path, draws: int, *, seed: int, batch_size: int, device: torch.device | str = "cpu"
) -> LogZ:
    """log (1/N) Σ exp(−E(x_i)), x_i ~ p_θ: simple importance sampling, no gradient.

    E[exp] = Z, so E[log] ≤ log Z (Jensen): a stochastic lower bound. It needs about as many draws as
    exp(D_KL(h ‖ p_θ)) (Chatterjee and Diaconis, 2018); with fewer, it and its error are too small.
    """
    weights = WeightStream()
    for block, first in enumerate(range(0, draws, BLOCK)):
        eps = path.sample_base(min(BLOCK, draws - first), stream(seed, "log Z", block, device=device))
        for part in torch.arange(count(eps), device=device).split(batch_size):
            weights.add(path.log_ratio(rows(eps, part)))
    return LogZ(*weights.result(), draws)


def from_below(
    path: Path, plan: Plan, chains: int, *, seed: int, batch_size: int, device: torch.device | str = "cpu"
) -> LogZ:
    """Annealed importance sampling from the base: a stochastic lower bound of log Z."""
    weights, rates = WeightStream(), []
    for part in torch.arange(chains).split(batch_size):
        rates.append(_added(weights, forward(path, plan, len(part), _streams(seed, "below", part, device))))
    return LogZ(*weights.result(), chains * plan.evaluations, _mean(rates))


def from_above(
    path: Path, plan: Plan, starts: State, *, seed: int, batch_size: int, device: torch.device | str = "cpu"
) -> LogZ:
    """Reverse annealing from `starts`, samples of h in the coordinates of the path: a stochastic upper bound
    of log Z if they are exact. A start that has no finite energy counts as weight 0, which raises the bound.
    """
    weights, rates, n = WeightStream(), [], count(starts)
    for part in torch.arange(n).split(batch_size):
        start = {name: v.to(device) for name, v in rows(starts, part).items()}
        rates.append(_added(weights, reverse(path, plan, start, _streams(seed, "above", part, device))))
    inverse = weights.result()  # the mean of w′ is an estimate of 1/Z
    return LogZ(-inverse.log_mean, *inverse[1:], n * plan.evaluations, _mean(rates))


def _added(weights: WeightStream, found: Annealed) -> tuple[int, Tensor]:
    weights.add(found.log_weight)
    return len(found.log_weight), found.acceptance


def _mean(rates: list[tuple[int, Tensor]]) -> Tensor:
    return torch.stack([n * rate for n, rate in rates]).sum(0) / sum(n for n, _ in rates)


def _streams(seed: int, side: str, index: Tensor, device: torch.device | str) -> RowStreams:
    return RowStreams([stream(seed, "log Z", side, int(i), device=device) for i in index])
