"""Options of the samplers. Torch-free, so that listing them is quick."""

from __future__ import annotations

from typing import Literal

from vaebm_toolkit import derived, frozen, ge, gt, opt


class Noisy:
    """What follows from a step size η and the noise's scale, where that is given."""

    step_size: float
    noise_scale: float | None

    @property
    def noise(self) -> float:
        """Standard deviation of the noise added at each step."""
        return self.step_size**0.5 if self.noise_scale is None else self.noise_scale

    @derived("implied temperature, noise² / η: the chain samples exp(−U/T) where nothing is clipped")
    def temperature(self) -> float:
        return self.noise**2 / self.step_size


@frozen
class LatentOptions(Noisy):
    """Defaults: VAEBM on CIFAR-10, 10 steps of η = 8e-5 in training."""

    steps: int = opt(10, "Langevin steps per chain", check=ge(0))
    step_size: float = opt(8e-5, "step size η: ε ← ε − (η/2)∇U + noise", check=gt(0))
    noise_scale: float | None = opt(None, "standard deviation of the noise; none: √η", check=ge(0))
    grad_clip: float | None = opt(None, "clip each element of ∇U to ± this", check=gt(0))
    target: Literal["exact", "official"] = opt(
        "exact", "the paper's density, or the released code's (which adds Σ log σ)"
    )
    clamp: bool | None = opt(
        None,
        "clamp x = T(ε) to the data's range before the energy sees it; none: in the official target only",
    )

    @property
    def clamped(self) -> bool:
        return self.target == "official" if self.clamp is None else self.clamp


@frozen
class JointOptions(Noisy):
    """Defaults: as many steps of the same size as in ε-space. No one step size suits all groups."""

    steps: int = opt(10, "Langevin steps per chain", check=ge(0))
    step_size: float = opt(8e-5, "step size η: (z, x) ← (z, x) − (η/2)∇U + noise", check=gt(0))
    noise_scale: float | None = opt(None, "standard deviation of the noise; none: √η", check=ge(0))
    grad_clip: float | None = opt(None, "clip each element of ∇U to ± this", check=gt(0))
    clamp: bool = opt(False, "clamp x to the data's range before the energy sees it")

    @property
    def clamped(self) -> bool:
        return self.clamp


@frozen
class DataOptions(Noisy):
    """Defaults: IGEBM. Its step x ← x − λ∇E with λ = 10 is η = 2λ = 20 here."""

    steps: int = opt(60, "Langevin steps per chain", check=ge(0))
    step_size: float = opt(20.0, "step size η: x ← x − (η/2)∇E + noise", check=gt(0))
    noise_scale: float | None = opt(0.005, "standard deviation of the noise; none: √η", check=ge(0))
    grad_clip: float | None = opt(0.01, "clip each element of ∇E to ± this", check=gt(0))
    clamp: bool = opt(True, "project x back into the data's range after each step")

    @property
    def clamped(self) -> bool:
        return self.clamp
