"""Options of torchebm's samplers. Torch-free."""

from __future__ import annotations

from vaebm_toolkit import derived, frozen, ge, gt, opt


@frozen
class LangevinOptions:
    """Defaults: torchebm's, with VAEBM's number of steps."""

    steps: int = opt(10, "Langevin steps per chain", check=ge(0))
    step_size: float = opt(
        1e-3, "torchebm's step size η: v ← v − η∇U + s√(2η) ω; half of the η of latent-ld", check=gt(0)
    )
    noise_scale: float = opt(1.0, "scale s of the noise", check=gt(0))

    @derived("implied temperature, s²: the chain samples exp(−U/T)")
    def temperature(self) -> float:
        return self.noise_scale**2


@frozen
class HmcOptions:
    """Defaults: torchebm's, with as many proposals as VAEBM has steps."""

    steps: int = opt(10, "proposals per chain", check=ge(0))
    step_size: float = opt(1e-3, "step size of the leapfrog integrator", check=gt(0))
    leapfrog_steps: int = opt(10, "leapfrog steps per proposal, each one gradient", check=ge(1))
