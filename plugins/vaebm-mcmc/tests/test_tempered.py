"""Several temperatures: what each rung samples, how they change places, and what that is good for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vaebm_mcmc.metropolis import LOG_PROB, SCORE
from vaebm_mcmc.options import TemperedOptions
from vaebm_mcmc.tempered import HOTTER
from vaebm_mcmc.tempered import tempered as at_temperature
from vaebm_toolkit.core import LogDensity, State, run_chain, square_norm, standard_normal, value_and_grad

from .conftest import check_mean, gaussian, hmc, log_gamma, tempered, values

RUNGS = 3


def every_rung(state: State, name: str) -> Tensor:
    """(B, K, …)"""
    return torch.cat([state[name][:, None], state[HOTTER + name]], 1)


def test_inverse_temperatures():
    assert TemperedOptions(rungs=3, hottest=100.0).inverse_temperatures == pytest.approx((1, 0.1, 0.01))
    assert TemperedOptions(rungs=1, hottest=100.0).inverse_temperatures == (1,)


def test_the_path_ends_at_the_prior(rng):
    """β = 1 is the density, β = 0 is N(0, I)."""
    eps = standard_normal({"z": (3,), "x": (2,)}, 4, rng)
    found = at_temperature(log_gamma, torch.tensor([1.0, 0.0, 0.5, 1.0]))(eps)
    density, prior = log_gamma(eps), -0.5 * square_norm(eps)
    torch.testing.assert_close(found[[0, 3]], density[[0, 3]])
    torch.testing.assert_close(found[1], prior[1])
    torch.testing.assert_close(found[2], (density[2] + prior[2]) / 2)


@pytest.mark.parametrize("precision", [0.5, 4.0])
def test_every_rung_keeps_its_own_law(precision, rng):
    """U = λv²/2 at β is a Gaussian of precision 1 + β(λ − 1): exact draws on every rung stay exact."""
    sampler = tempered(rungs=RUNGS, hottest=20.0, step_size=0.3)
    beta = torch.tensor(sampler.beta)
    variance = 1 / (1 + beta * (precision - 1))
    state = sampler.init({"z": torch.zeros(20_000, 2)})
    exact = standard_normal({"z": (RUNGS, 2)}, 20_000, rng)["z"] * variance.sqrt()[:, None]
    state["z"], state[HOTTER + "z"] = exact[:, 0], exact[:, 1:]
    for _ in range(3):
        state, diagnostics = sampler.step(state, gaussian(precision), rng)
        rungs = every_rung(state, "z")
        assert 0.1 < diagnostics["exchanges"] < 1
        for k in range(RUNGS):
            check_mean(rungs[:, k].square().mean(1), float(variance[k]))
    assert (rungs[:, 0] != exact[:, 0]).any(1).double().mean() > 0.99  # next to nothing stayed


def test_what_is_kept_belongs_to_where_it_is_kept(rng):
    """After jumps and exchanges log π_β and its gradient are those of each rung's position."""
    sampler = tempered(rungs=RUNGS, hottest=20.0, step_size=0.3)
    state = sampler.init(standard_normal({"z": (3,), "x": (2,)}, 6, rng))
    for _ in range(4):
        state, diagnostics = sampler.step(state, log_gamma, rng)
    for k, beta in enumerate(sampler.beta):
        position = {name: every_rung(state, name)[:, k] for name in ("z", "x")}
        log_prob, score = value_and_grad(at_temperature(log_gamma, torch.full((6,), beta)), position)
        torch.testing.assert_close(state[LOG_PROB][:, k], log_prob)
        for name in position:
            torch.testing.assert_close(state[SCORE + name][:, k], score[name])
    torch.testing.assert_close(diagnostics["log_prob"], log_gamma(sampler.position(state)).mean())


@pytest.mark.parametrize("hottest", [1.0, 7.0])
def test_jumps_and_exchanges_take_their_probabilities(hottest, rng):
    """Two rungs and trajectories that stand still: where a row ends follows from g at three points.

    With a = min(1, e^{β(g′ − g)}) for the jump of the hot rung from g to g′, and then
    min(1, e^{(1 − β)(g_hot − g)}) for the exchange.
    """
    n, beta = 100_000, 1 / hottest

    def log_density(state: State) -> Tensor:
        """g = −1 on the right of 0, −2 on the left."""
        v = state["z"][:, 0]
        return torch.where(v > 0, -1.0, -2.0) - 0.5 * v.square() + 0 * v

    sampler = tempered(rungs=2, hottest=hottest, step_size=1e-12)
    end = run_chain(sampler, {"z": torch.ones(n, 1)}, log_density, rng, steps=1)["z"][:, 0]
    left = 0.5 * math.exp(-beta)  # a jump to the left, accepted
    check_mean((end < 0).double(), left * math.exp(-(1 - beta)))


def mixture(dim: int, distance: float, sigma: float, weight: float) -> tuple[LogDensity, Tensor]:
    """weight · N(m, σ² I) + (1 − weight) · N(−m, σ² I), ‖m‖ = distance; and m."""
    m = torch.full((dim,), distance / dim**0.5)

    def log_density(state: State) -> Tensor:
        near, far = ((state["z"] - c).square().sum(1) / (-2 * sigma**2) for c in (m, -m))
        return torch.logaddexp(math.log(weight) + near, math.log(1 - weight) + far)

    return log_density, m


def test_it_crosses_between_modes_that_hmc_does_not_connect(rng):
    """Modes 20 σ apart in 8 dimensions, every chain begins in the lesser one: 2,600 gradients each."""
    n, sigma, weight = 400, 0.3, 0.25
    log_density, m = mixture(8, 3.0, sigma, weight)
    start = {"z": m + sigma * torch.randn(n, 8, generator=rng)}
    ladder = tempered(rungs=4, hottest=10.0, leapfrog=3, step_size=0.15, warmup=20)
    end = run_chain(ladder, start, log_density, rng, steps=200)["z"]
    crossed = end @ m < 0
    check_mean(crossed.double(), 1 - weight)
    check_mean((end - torch.where(crossed[:, None], -m, m)).square().mean(1), sigma**2)
    plain = run_chain(hmc(leapfrog=13, step_size=0.15, warmup=20), start, log_density, rng, steps=200)["z"]
    assert not (plain @ m < 0).any()


def test_one_rung_is_hmc_with_jumps(rng):
    """No neighbours, so no exchanges; in two dimensions draws of the prior find the other mode."""
    log_density, m = mixture(2, 2.0, 0.3, 0.25)
    sampler = tempered(rungs=1, step_size=0.15)
    seen = {}
    start = {"z": m.expand(2000, 2)}
    end = run_chain(
        sampler, start, log_density, rng, steps=150, observe=lambda k, position, found: seen.update(found)
    )
    assert "exchanges" not in seen
    check_mean((values(end) @ m < 0).double(), 0.75)
