"""What the samplers leave as it is, and what they converge to."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.core import State, run_chain

from .conftest import check_mean, gaussian, hmc, log_gamma, log_gamma_draws, mala, tempered, values

CHAINS = 4000
MEAN, VARIANCE = 1 - 0.5772156649015329, math.pi**2 / 6 - 1  # of log Gamma(2): digamma(2), trigamma(2)

# (sampler, precision λ): plain Langevin with the same η has 1/(λ(1 − ηλ/4)), and no limit from ηλ = 4 on
MIXING = [
    (mala(steps=60, step_size=0.5), 0.5),
    (mala(steps=60, step_size=1.5), 1.0),
    (mala(steps=60, step_size=0.5), 4.0),
    (mala(steps=60, step_size=2.5, grad_clip=1.0), 1.0),
    (hmc(steps=30, step_size=0.4), 0.5),
    (hmc(steps=30, step_size=1.3), 1.0),
    (hmc(steps=30, step_size=0.6), 4.0),
    (hmc(steps=30, step_size=0.4, grad_clip=1.0), 4.0),
    (mala(steps=100, step_size=1e-3, warmup=50), 4.0),
    (hmc(steps=60, step_size=20.0, warmup=40), 4.0),
    (tempered(steps=30, step_size=0.4), 0.5),
    (tempered(steps=30, step_size=0.4), 4.0),
    (tempered(steps=45, step_size=0.02, warmup=30), 4.0),
]


@pytest.mark.parametrize(("sampler", "precision"), MIXING)
def test_gaussian_from_afar(sampler, precision, rng, device):
    """Mean 0 and variance 1/λ from 3 standard deviations away, with steps that bias plain Langevin."""
    start = {"z": torch.full((CHAINS, 2), 3 / precision**0.5, device=device)}
    start["x"] = start["z"][:, :1].clone()
    v = values(run_chain(sampler, start, gaussian(precision), rng))
    check_mean(v.mean(1), 0)
    assert sampler.stationary_variance(precision) == 1 / precision
    check_mean(v.square().mean(1), 1 / precision)


@pytest.mark.parametrize(
    "sampler",
    [
        mala(steps=60, step_size=0.7, grad_clip=2.0),
        mala(steps=100, step_size=5.0, warmup=20),
        hmc(steps=30, step_size=0.4),
        tempered(steps=40, step_size=0.3),
    ],
)
def test_a_skewed_density_from_afar(sampler, rng, device):
    """From its steep side, where a Langevin step of 0.7 overshoots and next to none is accepted: a clipped
    gradient or a warm-up gets away.
    """
    v = values(run_chain(sampler, {"z": torch.full((CHAINS, 2), 3.0, device=device)}, log_gamma, rng))
    check_mean(v.mean(1), MEAN)
    check_mean((v - MEAN).square().mean(1), VARIANCE)
    check_mean(v.exp().mean(1), 2)


REVERSIBLE = [
    mala(step_size=0.1),
    mala(step_size=1.0),
    mala(step_size=6.0),
    mala(step_size=1.0, grad_clip=0.5),
    hmc(step_size=0.1),
    hmc(step_size=0.6),
    hmc(step_size=1.5, leapfrog=2),
    hmc(step_size=0.6, jitter=0.0),
    hmc(step_size=0.6, grad_clip=0.5),
]


@pytest.fixture
def draws(rng) -> State:
    """Exact draws: the chains are in equilibrium before their first step."""
    return {"z": log_gamma_draws((40_000, 1), rng)}


@pytest.mark.parametrize("sampler", REVERSIBLE)
@pytest.mark.parametrize("steps", [1, 3])
class TestEquilibrium:
    """Log-gamma draws x₀, and x₁ some steps later, for any step size."""

    def test_detailed_balance(self, sampler, steps, draws, rng):
        """E[a(x₀) b(x₁)] = E[b(x₀) a(x₁)] for any a, b."""
        assert sampler.reversible
        end = run_chain(sampler, draws, log_gamma, rng, steps=steps)
        check_mean(imbalance(draws["z"], end["z"]), 0)

    def test_the_density_stays(self, sampler, steps, draws, rng):
        end = run_chain(sampler, draws, log_gamma, rng, steps=steps)["z"][:, 0]
        check_mean(end, MEAN)
        check_mean((end - MEAN).square(), VARIANCE)
        check_mean(end.exp(), 2)


def imbalance(before: Tensor, after: Tensor) -> Tensor:
    """a(x₀) b(x₁) − b(x₀) a(x₁) with a = v and b = tanh(2v), (B,)."""
    a, b = before[:, 0], after[:, 0]
    return a * (2 * b).tanh() - (2 * a).tanh() * b


def test_without_its_test_langevin_is_out_of_balance(draws, rng):
    """The proposal alone, accepted always: what the comparison above would find."""
    from vaebm_mcmc.metropolis import evaluator

    evaluate = evaluator(log_gamma)
    end, _ = mala().propose(evaluate(draws), torch.ones(len(draws["z"])), evaluate, rng)
    found = imbalance(draws["z"], end.position["z"])
    assert abs(found.mean()) > 10 * found.std() / len(found) ** 0.5


def test_no_detailed_balance_is_claimed_while_steps_adapt(make):
    assert not make(warmup=1).reversible


def test_half_a_period_only_changes_the_sign(rng):
    """Without jitter a trajectory may be periodic, so no limit is claimed. Here cos θ = 1 − δ²λ/2, 3θ = π."""
    sampler = hmc(steps=9, leapfrog=3, step_size=1.0, jitter=0.0)
    start = {"z": torch.full((4, 1), 0.7)}
    assert sampler.stationary_variance(1.0) is None
    torch.testing.assert_close(run_chain(sampler, start, gaussian(1.0), rng)["z"], -start["z"])


@pytest.mark.parametrize("outside", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sampler", [mala(steps=80, step_size=0.6), hmc(steps=40, step_size=0.4, leapfrog=3)])
def test_what_is_not_finite_is_never_accepted(sampler, outside, rng):
    """N(0, 1) on v < 1, nothing to be had beyond: the mean is −φ(1)/Φ(1)."""

    def log_density(state: State) -> Tensor:
        v = state["z"][:, 0]
        return torch.where(v < 1, -0.5 * v.square(), outside)

    seen = []
    start = {"z": torch.zeros(CHAINS, 1)}
    end = run_chain(sampler, start, log_density, rng, observe=lambda k, p, d: seen.append((p["z"].max(), d)))
    assert all(highest < 1 and torch.isfinite(d["log_prob"]) for highest, d in seen)
    phi, mass = math.exp(-0.5) / math.sqrt(2 * math.pi), 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    check_mean(end["z"][:, 0], -phi / mass)


def test_a_broken_gradient_is_a_rejection(make, rng):
    """log π is finite everywhere, its gradient is NaN beyond 0: √ of a negative number behind a mask."""

    def log_density(state: State) -> Tensor:
        v = state["z"][:, 0]
        return -0.5 * v.square() + torch.where(v < 0, (-v).sqrt(), v)

    end = run_chain(make(steps=10, step_size=0.3), {"z": torch.full((50, 1), -0.5)}, log_density, rng)
    assert (end["z"] < 0).all()
