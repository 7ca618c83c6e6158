"""The area under the ROC curve: how often a score puts one class above the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor


class Auroc(NamedTuple):
    """P(positive > negative) + ½ P(positive = negative), and its uncertainty."""

    value: float
    error: float
    """standard error (DeLong et al., 1988); 0 where the classes are apart, whatever their size"""
    positive: int
    negative: int
    """examples of each class"""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """All A with |value − A| ≤ z √V(A), V as `hanley_mcneil` has it (Newcombe, 2006, method 5).

        Within [0, 1], and not empty where the classes are apart. V is the variance for exponential scores.
        """
        z = NormalDist().inv_cdf((1 + level) / 2)

        def beyond(a: float) -> bool:
            return abs(self.value - a) > z * hanley_mcneil(a, self.positive, self.negative) ** 0.5

        return edge(0.0, self.value, beyond), edge(1.0, self.value, beyond)


def auroc(positive: Tensor, negative: Tensor) -> Auroc:
    """The Mann–Whitney statistic U/(mn) of scores (m,) and (n,), ties counted half; O((m + n) log(m + n)).

    Its variance is var(V)/m + var(W)/n, where V_i is the share of negatives below positive i and W_j that
    of positives above negative j (DeLong et al., 1988).
    """
    if positive.ndim != 1 or negative.ndim != 1 or min(len(positive), len(negative)) < 2:
        raise ValueError(
            "scores are (m,) and (n,) with at least 2 of each class, "
            f"not {tuple(positive.shape)} and {tuple(negative.shape)}"
        )
    positive, negative = positive.double(), negative.double()
    if positive.isnan().any() or negative.isnan().any():
        raise ValueError("a score is NaN: it has no rank")
    above = below(positive, negative)
    under = 1 - below(negative, positive)
    error = math.sqrt(float(above.var() / len(above) + under.var() / len(under)))
    return Auroc(float(above.mean()), error, len(positive), len(negative))


def below(x: Tensor, others: Tensor) -> Tensor:
    """Share of `others` below each x, ties half, (len(x),)."""
    ordered = others.sort().values
    counts = torch.searchsorted(ordered, x) + torch.searchsorted(ordered, x, right=True)
    return counts.double() / (2 * len(others))


def hanley_mcneil(a: float, m: int, n: int) -> float:
    """Variance of an AUROC of true value a: a(1−a)[1 + (c−1)((1−a)/(2−a) + a/(1+a))]/(mn).

    Hanley & McNeil (1982, for exponential scores), with c = (m + n)/2 for both m and n in the bracket,
    so that it does not matter which class is called positive (Newcombe, 2006).
    """
    c = (m + n) / 2
    return a * (1 - a) * (1 + (c - 1) * ((1 - a) / (2 - a) + a / (1 + a))) / (m * n)


def edge(outside: float, inside: float, beyond: Callable[[float], bool]) -> float:
    """Where `beyond` changes between the two, by bisection; `outside` itself where it does not."""
    if not beyond(outside):
        return outside
    for _ in range(60):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if beyond(middle) else (outside, middle)
    return inside
