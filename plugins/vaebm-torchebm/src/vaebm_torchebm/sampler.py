"""A step of a sampler of torchebm as a kernel on our states."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torchebm.core import BaseModel, BaseSampler
from torchebm.samplers import HamiltonianMonteCarlo, LangevinDynamics

from vaebm_toolkit.core import LogDensity, Sampler, State, value_and_grad
from vaebm_torchebm.draws import Draws
from vaebm_torchebm.options import HmcOptions, LangevinOptions


class Energy(BaseModel):
    """U(v) = −log density as an energy model of torchebm, on the groups of `like` as one vector (B, D).

    Groups of different precision are computed in the highest among them, and come back in their own.
    """

    def __init__(self, log_density: LogDensity, like: State) -> None:
        start = flat(like)
        super().__init__(dtype=start.dtype, device=start.device)
        self.log_density, self.like, self.start = log_density, like, start
        self.sizes = [v[0].numel() for v in like.values()]
        self.log_prob: Tensor | None = None
        """(B,), where the gradient was first asked for: at the chain's position"""
        self.finite = torch.ones(len(start), dtype=torch.bool, device=start.device)
        """(B,), whether every gradient so far was"""

    def state(self, x: Tensor) -> State:
        parts = zip(self.like.items(), x.split(self.sizes, 1), strict=True)
        return {name: part.view_as(v).to(v.dtype) for (name, v), part in parts}

    def forward(self, x: Tensor) -> Tensor:
        return -self.log_density(self.state(x))

    def gradient(self, x: Tensor, model_kwargs: dict[str, object] | None = None) -> Tensor:
        log_prob, score = value_and_grad(self.log_density, self.state(x))
        slope = flat(score)
        self.log_prob = log_prob if self.log_prob is None else self.log_prob
        self.finite &= torch.isfinite(slope).all(1)
        return slope.neg_()


class Bridge(Sampler):
    """One step of a sampler of torchebm, all groups flattened to one vector; rows are independent."""

    space: ClassVar[Literal["latent", "data", "joint"]] = "latent"

    @abstractmethod
    def made(self, energy: Energy) -> BaseSampler:
        """torchebm's sampler for this energy."""

    def step(
        self, state: State, log_density: LogDensity, rng: torch.Generator
    ) -> tuple[State, Mapping[str, Tensor]]:
        energy = Energy(log_density, state)
        with Draws(rng):
            end = self.made(energy).sample(x=energy.start, n_steps=1, generator=rng)
        end, diagnostics = self.finished(end, energy)
        assert energy.log_prob is not None, "every kernel here takes gradients"
        return energy.state(end), {"log_prob": energy.log_prob.mean(), **diagnostics}

    def finished(self, end: Tensor, energy: Energy) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The new position, (B, D), and diagnostics. Default: what torchebm says."""
        return end, {}


class Langevin(Bridge):
    """v ← v − η ∇U(v) + s √(2η) ω, ω ~ N(0, I): torchebm's LangevinDynamics.

    With η half of VAEBM's (eq. 7) and s = 1 it is that chain.
    """

    def __init__(self, options: LangevinOptions, bounds: tuple[float, float] | None = None) -> None:
        self.steps, self.step_size, self.noise_scale = options.steps, options.step_size, options.noise_scale

    def made(self, energy: Energy) -> LangevinDynamics:
        return LangevinDynamics(
            energy,
            step_size=self.step_size,
            noise_scale=self.noise_scale,
            dtype=energy.dtype,
            device=energy.device,
        )

    def stationary_variance(self, precision: float) -> float | None:
        """2ηs² / (1 − (1 − ηλ)²) = s² / (λ (1 − ηλ/2)); none where the chain has no limit."""
        rate = self.step_size * precision
        return None if rate >= 2 else self.noise_scale**2 / (precision * (1 - rate / 2))


class Hmc(Bridge):
    """A leapfrog trajectory from momentum p ~ N(0, I), accepted with min(1, exp(−ΔH)).

    torchebm's HamiltonianMonteCarlo, which puts zeros in the place of what is not a number along a
    trajectory and could then accept the result; here such a proposal is refused.
    """

    reversible = True

    def __init__(self, options: HmcOptions, bounds: tuple[float, float] | None = None) -> None:
        self.steps, self.step_size = options.steps, options.step_size
        self.leapfrog_steps = options.leapfrog_steps

    def made(self, energy: Energy) -> HamiltonianMonteCarlo:
        return HamiltonianMonteCarlo(
            energy,
            step_size=self.step_size,
            n_leapfrog_steps=self.leapfrog_steps,
            dtype=energy.dtype,
            device=energy.device,
        )

    def finished(self, end: Tensor, energy: Energy) -> tuple[Tensor, Mapping[str, Tensor]]:
        end = torch.where(energy.finite[:, None], end, energy.start)
        return end, {"accepted": (end != energy.start).any(1).to(end).mean()}

    def stationary_variance(self, precision: float) -> float | None:
        """1/λ: the accept step makes it exact. None is claimed where it would refuse nearly everything."""
        return None if self.step_size**2 * precision >= 4 else 1 / precision


def flat(state: State) -> Tensor:
    """All groups as one vector, (B, D)."""
    return torch.cat([v.flatten(1) for v in state.values()], 1)
