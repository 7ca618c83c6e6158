"""The Langevin kernel and its three spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from vaebm_langevin.options import DataOptions, JointOptions, LatentOptions
from vaebm_toolkit.core import LogDensity, Sampler, State, randn_like, square_norm, value_and_grad


class Langevin(Sampler):
    """v ← v − (η/2) ∇U(v) + s ω, ω ~ N(0, I), with U = −log density (VAEBM, eq. 7).

    Stationary variance for U = λ v² / 2 and s = √η: 1 / (λ (1 − ηλ/4)).
    Rows are independent; there is one η for every group.
    """

    def __init__(
        self, options: LatentOptions | DataOptions | JointOptions, bounds: tuple[float, float] | None = None
    ) -> None:
        self.steps = options.steps
        self.step_size, self.noise, self.grad_clip = options.step_size, options.noise, options.grad_clip
        self.bounds = bounds if options.clamped else None

    def step(
        self, state: State, log_density: LogDensity, rng: torch.Generator
    ) -> tuple[State, Mapping[str, Tensor]]:
        log_prob, score = value_and_grad(log_density, state)
        diagnostics = {"log_prob": log_prob.mean(), "grad_norm": square_norm(score).sqrt().mean()}
        gradient = list(score.values())  # of −U
        if self.grad_clip is not None:
            gradient = [g.clamp(-self.grad_clip, self.grad_clip) for g in gradient]
        noise = [randn_like(v, rng) for v in state.values()]
        # v − (η/2) ∇U + s ω, one fused operation for all groups
        moved = torch._foreach_add(list(state.values()), gradient, alpha=self.step_size / 2)
        torch._foreach_add_(moved, noise, alpha=self.noise)
        return self.project(dict(zip(state, moved, strict=True))), diagnostics

    def stationary_variance(self, precision: float) -> float | None:
        """s² / (ηλ (1 − ηλ/4)); not claimed where something is clipped, or where the chain has no limit."""
        rate = self.step_size * precision
        if self.grad_clip is not None or rate >= 4 or (self.space == "data" and self.bounds is not None):
            return None
        return self.noise**2 / (rate * (1 - rate / 4))

    def project(self, state: State) -> State:
        return state


class LatentLangevin(Langevin):
    """Langevin dynamics on ε; `bounds` are applied to T(ε) by the density."""

    space: ClassVar[Literal["latent", "data", "joint"]] = "latent"

    def __init__(self, options: LatentOptions, bounds: tuple[float, float] | None = None) -> None:
        super().__init__(options, bounds)
        self.target = options.target


class JointLangevin(Langevin):
    """Langevin dynamics on (z, x) themselves, without reparametrisation; E sees x within `bounds`."""

    space: ClassVar[Literal["latent", "data", "joint"]] = "joint"


class DataLangevin(Langevin):
    """Langevin dynamics on x, projected onto `bounds` (IGEBM's clip to [0, 1])."""

    space: ClassVar[Literal["latent", "data", "joint"]] = "data"

    def project(self, state: State) -> State:
        if self.bounds is None:
            return state
        return {k: v.clamp(*self.bounds) for k, v in state.items()}
