"""Whether chains sit at the temperature they should have: of exp(−U(v)/T), T from their positions and forces.

Positions are (B, …), one row per independent chain; the other dimensions are its d coordinates.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class Estimate(NamedTuple):
    """A mean over chains."""

    value: float
    error: float
    """standard error, over independent chains; NaN for one"""


class NormDrift(NamedTuple):
    """Mean ‖ε‖ of chains, and what it is for ε ~ N(0, I): about √d."""

    mean: Estimate
    expected: float

    @property
    def ratio(self) -> float:
        """Mean over expectation: above 1 chains have drifted outwards, off the shell where noise lives."""
        return self.mean.value / self.expected


def norm_drift(eps: Tensor) -> NormDrift:
    """Of ε (B, …)."""
    flat = eps.double().flatten(1)
    return NormDrift(over_chains(flat.norm(dim=1)), expected_norm(flat.shape[1]))


def expected_norm(d: int) -> float:
    """E‖ε‖ = √2 Γ((d + 1)/2) / Γ(d/2), ε ~ N(0, I_d): √d (1 − 1/(4d) + …), with variance d − E‖ε‖², about ½.

    >>> round(expected_norm(1) * (math.pi / 2) ** 0.5, 12)
    1.0
    """
    return math.sqrt(2) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))


def gaussian_temperature(eps: Tensor) -> Estimate:
    """E‖ε‖²/d, ε (B, …): T where U = ½‖ε‖², that is where E = 0 or a group of ε has no part in E."""
    return over_chains(eps.double().flatten(1).square().mean(1))


def virial_temperature(v: Tensor, gradient: Tensor) -> Estimate:
    """E[v · ∇U(v)]/d, both (B, …): T for any U that keeps v from running away.

    ∫ ∇·(v exp(−U/T)) dv = 0 gives E[v · ∇U] = T d (Clausius' virial; the equipartition theorem). It holds for
    each coordinate by itself, so for any group of a state too: give its part of v and ∇U. It does not hold
    for v that is projected onto bounds, nor for a clipped ∇U.

    Langevin with noise s and step η has T = s²/η as η → 0. At finite η on U = λv²/2 the stationary
    variance is s²/(ηλ(1 − ηλ/4)), and this is s²/η/(1 − ηλ/4): the step's own error is in it.
    """
    if v.shape != gradient.shape:
        raise ValueError(
            f"positions and gradients have one shape, not {tuple(v.shape)} and {tuple(gradient.shape)}"
        )
    return over_chains((v.double() * gradient.double()).flatten(1).mean(1))


def over_chains(values: Tensor) -> Estimate:
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), error)
