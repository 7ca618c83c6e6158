"""Hamiltonian Monte Carlo on a state, with accept or reject (Duane et al., 1987; Neal, 2011)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

from vaebm_toolkit.core.chain import value_and_grad
from vaebm_toolkit.core.interfaces import LogDensity, State, square_norm
from vaebm_toolkit.core.rng import rand, randn_like


@dataclass(frozen=True)
class Point:
    """Where B chains are, and the density there. What else is known there goes into a subclass."""

    state: State
    log_prob: Tensor
    """(B,), up to a constant"""
    grad: State
    """of log_prob in the state"""


P = TypeVar("P", bound=Point)


def pointwise(log_density: LogDensity) -> Callable[[State], Point]:
    """What `hmc_step` asks for at every leapfrog step: one value and one gradient of the density."""
    return lambda state: Point(state, *value_and_grad(log_density, state))


def hmc_step(
    at: P, evaluate: Callable[[State], P], step_size: float | Tensor, leapfrog: int, rng: torch.Generator
) -> tuple[P, Tensor]:
    """One transition in detailed balance with the density, and the acceptance probability, (B,).

    p ~ N(0, I), `leapfrog` steps of size η on H = −log density + ½‖p‖² lead to (q′, p′), which is
    accepted with probability min(1, exp(H − H′)). With one step it is MALA, whose Langevin step is η²:
    q′ = q + (η²/2) ∇ log density + η p. It takes `leapfrog` evaluations; that of the start is in `at`.

    step_size: one, or one per row (B,), which must not depend on the position.
    A row moves to no place where the density is not finite.
    """
    momentum = {name: randn_like(v, rng) for name, v in at.state.items()}
    proposed, end = trajectory(at, momentum, evaluate, step_size, leapfrog)
    log_ratio = proposed.log_prob - at.log_prob + 0.5 * (square_norm(momentum) - square_norm(end))
    possible = torch.isfinite(proposed.log_prob) & ~torch.isnan(log_ratio)
    log_ratio = torch.where(possible, log_ratio, -torch.inf)
    accept = rand(log_ratio.shape, rng, like=log_ratio).log() < log_ratio
    return where(accept, proposed, at), log_ratio.clamp(max=0).exp()


def trajectory(
    at: P, momentum: State, evaluate: Callable[[State], P], step_size: float | Tensor, leapfrog: int
) -> tuple[P, State]:
    """`leapfrog` steps from (q, p): p += (η/2) ∇; q += η p; p += (η/2) ∇.

    It keeps volume, and from (q′, −p′) leads back to (q, −p), whatever the gradient is a function of.
    """
    step = {
        name: torch.as_tensor(step_size, dtype=v.dtype, device=v.device).view(-1, *[1] * (v.dim() - 1))
        for name, v in momentum.items()
    }
    for _ in range(leapfrog):
        momentum = {name: p + 0.5 * step[name] * at.grad[name] for name, p in momentum.items()}
        at = evaluate({name: q + step[name] * momentum[name] for name, q in at.state.items()})
        momentum = {name: p + 0.5 * step[name] * at.grad[name] for name, p in momentum.items()}
    return at, momentum


def where(accept: Tensor, new: P, old: P) -> P:
    """Row by row, all that is known at the new point or at the old one; accept: (B,) bool."""

    def chosen(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(accept.view(-1, *[1] * (a.dim() - 1)), a, b)

    found = {}
    for field in fields(new):
        a, b = getattr(new, field.name), getattr(old, field.name)
        found[field.name] = {k: chosen(a[k], b[k]) for k in a} if isinstance(a, dict) else chosen(a, b)
    return type(new)(**found)
