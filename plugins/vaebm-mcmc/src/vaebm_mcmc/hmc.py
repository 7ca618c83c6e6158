"""Hamiltonian Monte Carlo with the leapfrog integrator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vaebm_mcmc.metropolis import Evaluate, Metropolis, Point, along
from vaebm_mcmc.options import HmcOptions
from vaebm_toolkit.core import State, rand, randn_like, square_norm


class LatentHmc(Metropolis):
    """A trajectory of H(v, p) = −log π(v) + ½‖p‖² from p ~ N(0, I), accepted with min(1, e^−ΔH) (Neal, 2011).

    One leapfrog step of size √η without jitter is the Metropolis-adjusted Langevin algorithm with η.
    """

    def __init__(self, options: HmcOptions, bounds: tuple[float, float] | None = None) -> None:
        super().__init__(options, bounds)
        self.leapfrog, self.jitter = options.leapfrog, options.jitter

    def propose(
        self, here: Point, step_size: Tensor, evaluate: Evaluate, rng: torch.Generator
    ) -> tuple[Point, Tensor]:
        start = {k: randn_like(v, rng) for k, v in here.position.items()}
        if self.jitter:
            # δ is drawn apart from (v, p), so that the kernel is a mixture of reversible ones
            step_size = step_size * (1 + self.jitter * (2 * rand(step_size.shape, rng, like=step_size) - 1))
        there, end = leapfrog(here, start, step_size, self.leapfrog, evaluate, self.force)
        return there, there.log_prob - here.log_prob + 0.5 * (square_norm(start) - square_norm(end))

    def stationary_variance(self, precision: float) -> float | None:
        """1/λ for any step size; not claimed without jitter: half a period only changes the sign."""
        return 1 / precision if self.jitter else None


def leapfrog(
    point: Point,
    momentum: State,
    step_size: Tensor,
    steps: int,
    evaluate: Evaluate,
    force: Callable[[Point], State],
) -> tuple[Point, State]:
    """`steps` times p += (δ/2) F(v), v += δ p, p += (δ/2) F(v) (Neal, 2011, eq. 5.18–5.20); δ is (B,).

    Each step shears p and v in turn, so volumes stay, and the same steps from (v, −p) lead back, whatever
    function of v the force F is; that of H is ∇ log π. The error of H is of order δ².
    """
    momentum = kicked(momentum, force(point), step_size / 2)
    for k in range(1, steps + 1):
        point = evaluate({n: v + along(step_size, v) * momentum[n] for n, v in point.position.items()})
        momentum = kicked(momentum, force(point), step_size if k < steps else step_size / 2)
    return point, momentum


def kicked(momentum: State, force: State, time: Tensor) -> State:
    """p + t F for t (B,)."""
    return {k: p + along(time, p) * force[k] for k, p in momentum.items()}
