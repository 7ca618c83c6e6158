"""Options of the samplers. Torch-free, so that listing them is quick."""

from __future__ import annotations

from typing import Literal

from vaebm_toolkit import between, derived, frozen, ge, gt, opt

WARMUP = "first steps of each chain that adapt each row's step size; it then stays"
ACCEPT = "mean probability of acceptance that warm-up aims at"
CLIP = "clip each element of ∇ log h to ± this in proposals; the law stays exact"
TARGET = "the paper's density, or the released code's (which adds Σ log σ)"
CLAMP = "clamp x = T(ε) to the data's range before the energy sees it; none: in the official target only"


class Clamped:
    """Whether the energy sees x within the data's range, as `latent-ld` decides it."""

    target: str
    clamp: bool | None

    @property
    def clamped(self) -> bool:
        return self.target == "official" if self.clamp is None else self.clamp


@frozen
class MalaOptions(Clamped):
    """Defaults: those of `latent-ld`, with a test of every step and a short warm-up."""

    steps: int = opt(10, "steps per chain, one gradient each", check=ge(0))
    step_size: float = opt(
        8e-5, "step size η: ε′ = ε + (η/2)∇log h + √η ω; where warm-up begins", check=gt(0)
    )
    warmup: int = opt(5, WARMUP, check=ge(0))
    target_accept: float = opt(0.57, ACCEPT, check=between(0.05, 0.95))
    grad_clip: float | None = opt(None, CLIP, check=gt(0))
    target: Literal["exact", "official"] = opt("exact", TARGET)
    clamp: bool | None = opt(None, CLAMP)


@frozen
class HmcOptions(Clamped):
    """Defaults: five times the gradients of `latent-ld`, with steps of the size of its noise."""

    steps: int = opt(10, "trajectories per chain", check=ge(0))
    step_size: float = opt(0.01, "size δ of a leapfrog step; where warm-up begins", check=gt(0))
    leapfrog: int = opt(5, "leapfrog steps per trajectory, one gradient each", check=ge(1))
    jitter: float = opt(
        0.2, "δ of each trajectory varies by ± this share, so that none is periodic", check=between(0, 0.9)
    )  # fmt: skip
    warmup: int = opt(5, WARMUP, check=ge(0))
    target_accept: float = opt(0.8, ACCEPT, check=between(0.05, 0.95))
    grad_clip: float | None = opt(None, CLIP, check=gt(0))
    target: Literal["exact", "official"] = opt("exact", TARGET)
    clamp: bool | None = opt(None, CLAMP)

    @derived("length of a trajectory, leapfrog · δ, before any warm-up")
    def length(self) -> float:
        return self.leapfrog * self.step_size

    @derived("gradients per step")
    def gradients(self) -> int:
        return self.leapfrog


@frozen
class TemperedOptions(HmcOptions):
    """Defaults: a ladder for chains of hundreds of steps, at test time."""

    steps: int = opt(100, "trajectories per chain and temperature", check=ge(0))
    leapfrog: int = opt(
        3, "leapfrog steps per trajectory, one gradient each at every temperature", check=ge(1)
    )
    rungs: int = opt(4, "number of temperatures T of the energy, from 1 in equal ratios", check=ge(1))
    hottest: float = opt(10.0, "the highest T; with one rung T = 1", check=ge(1))

    @property
    def inverse_temperatures(self) -> tuple[float, ...]:
        """β = 1/T, the coldest rung first: 1 … 1/hottest."""
        return tuple(self.hottest ** (-k / max(self.rungs - 1, 1)) for k in range(self.rungs))

    @derived("gradients per step: one per leapfrog step on each rung, one for the jump")
    def gradients(self) -> int:
        return self.rungs * self.leapfrog + 1
