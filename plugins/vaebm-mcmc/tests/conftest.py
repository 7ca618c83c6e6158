"""What the tests of all three samplers share: densities with known moments, and one way to compare."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vaebm_mcmc.hmc import LatentHmc
from vaebm_mcmc.mala import LatentMala
from vaebm_mcmc.metropolis import Metropolis
from vaebm_mcmc.options import HmcOptions, MalaOptions, TemperedOptions
from vaebm_mcmc.tempered import LatentTempered
from vaebm_toolkit.core import LogDensity, State

Make = Callable[..., Metropolis]


def mala(**options) -> LatentMala:
    return LatentMala(MalaOptions(**{"warmup": 0, **options}))


def hmc(**options) -> LatentHmc:
    return LatentHmc(HmcOptions(**{"warmup": 0, **options}))


def tempered(**options) -> LatentTempered:
    return LatentTempered(TemperedOptions(**{"warmup": 0, **options}))


def values(state: State) -> Tensor:
    """All groups side by side, (B, D)."""
    return torch.cat([v.flatten(1) for v in state.values()], 1)


def gaussian(precision: float) -> LogDensity:
    """Every coordinate N(0, 1/λ)."""
    return lambda state: -0.5 * precision * values(state).square().sum(1)


def log_gamma(state: State) -> Tensor:
    """Every coordinate the logarithm of a Gamma(2): log density 2v − e^v, skewed, with one steep side."""
    v = values(state)
    return (2 * v - v.exp()).sum(1)


def log_gamma_draws(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """A Gamma(2) is a sum of two exponentials: −log of a product of two uniforms."""
    u = torch.rand((2, *shape), generator=rng, device=rng.device)
    return (-(1 - u).log().sum(0)).log()


def check_mean(found: Tensor, expected: float) -> None:
    """The mean over rows, (B,), within four of its standard errors."""
    error = found.std().item() / len(found) ** 0.5
    assert abs(found.mean().item() - expected) < 4 * error, (found.mean().item(), expected, error)


@pytest.fixture(params=[mala, hmc, tempered], ids=["mala", "hmc", "tempered"])
def make(request: pytest.FixtureRequest) -> Make:
    """make(**options) -> a sampler, without warm-up unless asked for."""
    return request.param
