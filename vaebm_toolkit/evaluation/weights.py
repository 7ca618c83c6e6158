"""The mean of weights that are known by their logarithms, as they come."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Mean(NamedTuple):
    """log of the mean of N weights."""

    log_mean: float
    error: float
    """its standard error, sd(w) / (√N mean w): the delta method, an underestimate where `ess` is small"""
    ess: float
    """(Σ w)² / Σ w², between 1 and N: how many equal weights would be as good (Kong, 1992)"""
    draws: int
    """N"""
    without: int
    """how many of them are 0, as their logarithm is not finite"""


class WeightStream:
    """Mean and variance of weights exp(a), batch by batch: nothing is kept but four numbers.

    The moments of exp(a − shift), shift the largest a so far, are merged as Chan, Golub and LeVeque
    (1983) do, so that neither large values nor nearly equal ones lose digits. A weight whose logarithm
    is not finite counts as 0.
    """

    def __init__(self) -> None:
        self.draws, self.without = 0, 0
        self.shift, self.mean, self.squares = -math.inf, 0.0, 0.0  # squares: Σ (w − mean)²

    def add(self, log_weight: Tensor) -> None:
        """log_weight: (B,)"""
        log_weight = log_weight.detach().double()
        finite = torch.isfinite(log_weight)
        log_weight = log_weight.masked_fill(~finite, -math.inf)
        n, top = len(log_weight), float(log_weight.max())
        if top > self.shift:
            scale = math.exp(self.shift - top)
            self.shift, self.mean, self.squares = top, self.mean * scale, self.squares * scale**2
        shift = self.shift if math.isfinite(self.shift) else 0.0
        weight = (log_weight - shift).exp()
        mean = float(weight.mean())
        total, gap = self.draws + n, mean - self.mean
        self.squares += float((weight - mean).square().sum()) + gap**2 * self.draws * n / total
        self.mean += gap * n / total
        self.draws, self.without = total, self.without + int((~finite).sum())

    def result(self) -> Mean:
        """All weights so far; −∞ ± ∞ where each is 0."""
        if self.mean == 0:
            return Mean(-math.inf, math.inf, 0.0, self.draws, self.without)
        relative = self.squares / self.mean**2 / self.draws  # variance over squared mean, with 1/N
        error = math.sqrt(relative / (self.draws - 1)) if self.draws > 1 else math.inf
        ess = self.draws / (1 + relative)
        return Mean(self.shift + math.log(self.mean), error, ess, self.draws, self.without)
