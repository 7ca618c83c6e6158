"""From a density that can be sampled to one whose normaliser is asked for.

log π_β = log f₀ + β log (f₁ / f₀), β from 0 to 1: f₀ is normalised and sampled, Z = ∫ f₁.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vaebm_toolkit.core import Generator, LogDensity, State, square_norm, standard_normal, value_and_grad
from vaebm_toolkit.core.densities import Energy
from vaebm_toolkit.core.hmc import Point
from vaebm_toolkit.core.interfaces import Bounds


@dataclass(frozen=True)
class PathPoint(Point):
    """A point on the path: log_prob and grad are those of log π_β."""

    base: Tensor
    """(B,), log f₀ up to a constant"""
    base_grad: State
    ratio: Tensor
    """(B,), log (f₁ / f₀); −∞ where it is not finite"""
    ratio_grad: State

    def at(self, beta: float) -> PathPoint:
        """The same point under π_β, β > 0; nothing is evaluated."""
        grad = {name: g + beta * self.ratio_grad[name] for name, g in self.base_grad.items()}
        return replace(self, log_prob=self.base + beta * self.ratio, grad=grad)


@dataclass(frozen=True)
class Path:
    """log π_β = log_base + β log_ratio. Weights between its ends estimate Z = ∫ base · exp(log_ratio)."""

    log_base: LogDensity
    """log f₀, up to a constant"""
    log_ratio: LogDensity
    """log (f₁ / f₀), f₀ normalised: its constant counts"""
    sample_base: Callable[[int, torch.Generator], State]
    """(n, rng) -> n samples of f₀, each from its own stream where rng is RowStreams"""

    def point(self, state: State, beta: float) -> PathPoint:
        """One evaluation of the ratio and its gradient.

        f₁ is 0 where the ratio is not finite (an energy that is NaN or infinite); a gradient that is
        not finite is taken as 0, which keeps a proposal where it can be evaluated and rejected.
        """
        base, base_grad = value_and_grad(self.log_base, state)
        ratio, ratio_grad = value_and_grad(self.log_ratio, state)
        ratio = ratio.masked_fill(~torch.isfinite(ratio), -torch.inf)
        ratio_grad = {name: g.nan_to_num(0, 0, 0) for name, g in ratio_grad.items()}
        return PathPoint(state, base, base_grad, base, base_grad, ratio, ratio_grad).at(beta)


def latent_path(generator: Generator, energy: Energy, like: Tensor, clamp: Bounds = None) -> Path:
    """ε-space: log π_β(ε) = −½‖ε‖² − β E(T(ε)), from N(0, I) to h (VAEBM, eq. 6).

    Z = E[exp(−E(T(ε)))], ε ~ N(0, I): the normaliser of h(x) = p_θ(x) exp(−E(x)) / Z, whatever p_θ(x) is
    a density of. Hold both networks as constants, in eval mode (`core.frozen`). An `x` that is a step
    function of ε (`Generator.check_reparametrised`) can be weighed, but has no gradient to anneal by.

    like: device and dtype of the chains. clamp: of x before E sees it, as the sampler's.
    """

    def log_ratio(eps: State) -> Tensor:
        x = generator.decode(eps).x
        return -energy(x if clamp is None else x.clamp(*clamp))

    return Path(
        log_base=lambda eps: -0.5 * square_norm(eps),
        log_ratio=log_ratio,
        sample_base=lambda n, rng: standard_normal(generator.groups, n, rng, like),
    )


@dataclass(frozen=True)
class DataNoise:
    """x of an energy alone as a function of noise u ~ N(0, I), as `core.data_noise` draws it.

    Uniform within bounds, x = low + (high − low) Φ(u), or x = scale · u where there are none. In u a
    uniform base has no walls, at which a chain would be rejected.
    """

    shape: tuple[int, ...]
    bounds: Bounds
    scale: float = 1.0
    """standard deviation of the base where there are no bounds; at least that of the data"""

    def data(self, noise: State) -> Tensor:
        """(B, *shape)"""
        if self.bounds is None:
            return self.scale * noise["x"]
        low, high = self.bounds
        return low + (high - low) * torch.special.ndtr(noise["x"])

    def noise(self, x: Tensor) -> State:
        """The u of x (B, *shape): reverse starts from samples. x on the bounds is moved just inside."""
        if self.bounds is None:
            return {"x": x / self.scale}
        low, high = self.bounds
        eps = torch.finfo(x.dtype).eps
        return {"x": torch.special.ndtri(((x - low) / (high - low)).clamp(eps, 1 - eps))}

    def log_base(self, noise: State) -> Tensor:
        """log density of the base at x, (B,), of x in data units."""
        size = math.prod(self.shape)
        if self.bounds is not None:
            return noise["x"].new_full((len(noise["x"]),), -size * math.log(self.bounds[1] - self.bounds[0]))
        return -0.5 * square_norm(noise) - size * (math.log(self.scale) + 0.5 * math.log(2 * math.pi))


def data_path(energy: Energy, base: DataNoise, like: Tensor) -> Path:
    """An energy alone: Z = ∫ exp(−E(x)) dx, over the bounds where there are some (IGEBM).

    In u: log π_β = −½‖u‖² + β (−E(x) − log base(x)), so π_β ∝ base(x)^(1−β) exp(−β E(x)) in x.
    """
    return Path(
        log_base=lambda noise: -0.5 * square_norm(noise),
        log_ratio=lambda noise: -energy(base.data(noise)) - base.log_base(noise),
        sample_base=lambda n, rng: standard_normal({"x": base.shape}, n, rng, like),
    )
