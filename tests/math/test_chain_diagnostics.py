"""Chain diagnostics on autoregressive series, where they are known, and against ArviZ."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.evaluation.chain_diagnostics import (
    autocorrelation,
    autocovariance,
    bulk_ess,
    effective_sample_size,
    rank_normalised,
    rank_r_hat,
    split,
    split_r_hat,
    tail_ess,
)


def ar1(phi: float, chains: int, draws: int, rng: torch.Generator, *rest: int) -> Tensor:
    """x_t = φ x_{t−1} + √(1 − φ²) ω_t from its stationary law N(0, 1): ρ_t = φᵗ, ESS = N (1 − φ)/(1 + φ)."""
    x = [torch.randn(chains, *rest, generator=rng)]
    for _ in range(draws - 1):
        x.append(phi * x[-1] + (1 - phi**2) ** 0.5 * torch.randn(chains, *rest, generator=rng))
    return torch.stack(x, 1)


@pytest.mark.parametrize("n", [50, 51])
def test_autocovariance_is_the_sum(n: int, rng: torch.Generator) -> None:
    x = torch.randn(3, n, 2, generator=rng)
    c = x - x.mean(1, keepdim=True)
    naive = torch.stack([(c[:, : n - t] * c[:, t:]).sum(1) / n for t in range(n)], 1)
    torch.testing.assert_close(autocovariance(x), naive)


@pytest.mark.parametrize("phi", [0.8, -0.5])
def test_autocorrelation(phi: float, rng: torch.Generator) -> None:
    """φᵗ, within the standard error √((1 + φ²)/(1 − φ²)/n) that Bartlett's formula has for large t."""
    rho = autocorrelation(ar1(phi, 10, 4000, rng))
    lag = torch.arange(1, 20)
    error = ((1 + phi**2) / (1 - phi**2) / 40_000) ** 0.5
    assert rho[0] == 1
    assert (rho[lag] - phi**lag).abs().max() < 4 * error


@pytest.mark.parametrize("phi", [0.9, 0.5, 0.0, -0.4])
def test_effective_sample_size(phi: float, rng: torch.Generator) -> None:
    """On 200 series apart: the mean within 4 standard errors and the estimator's own bias of 2 %."""
    ess = effective_sample_size(ar1(phi, 4, 2000, rng, 200))
    expected = 8000 * (1 - phi) / (1 + phi)
    assert ess.shape == (200,)
    assert abs(ess.mean() - expected) < 4 * ess.std() / 200**0.5 + 0.02 * expected


def test_effective_sample_size_is_that_of_the_mean(rng: torch.Generator) -> None:
    """The variance of means of 4 chains over 400 repeats is 1/ESS."""
    x = ar1(0.7, 4, 500, rng, 400)
    means = x.mean((0, 1))
    expected = effective_sample_size(x).reciprocal().mean()
    assert means.square().mean() / expected == pytest.approx(1, abs=4 * (2 / 400) ** 0.5 + 0.05)


def test_r_hat_is_one_where_chains_agree(rng: torch.Generator) -> None:
    x = ar1(0.3, 4, 2000, rng, 50)
    assert (split_r_hat(x) - 1).abs().max() < 0.01
    assert (rank_r_hat(x) - 1).abs().max() < 0.01


def test_r_hat_of_a_shifted_chain_is_known(rng: torch.Generator) -> None:
    """Means 0, 0, 0, δ: V = 1 + the variance of the halves' means (δ² · 3/14 for 8 halves), W = 1."""
    x = torch.randn(4, 20_000, generator=rng)
    x[3] += 2
    assert float(split_r_hat(x)) == pytest.approx(math.sqrt(1 + 4 * 3 / 14), rel=0.01)
    assert effective_sample_size(x) < 20  # chains that disagree are worth one draw each, or little more


def test_r_hat_sees_scale_drift_and_heavy_tails(rng: torch.Generator) -> None:
    wide = torch.randn(4, 1000, generator=rng)
    wide[0] *= 3
    assert split_r_hat(wide) < 1.01
    assert rank_r_hat(wide) > 1.05
    drift = torch.randn(4, 1000, generator=rng) + torch.linspace(-1, 1, 1000)
    assert split_r_hat(drift) > 1.1
    cauchy = torch.tan(math.pi * (torch.rand(4, 1000, generator=rng) - 0.5))
    cauchy[0] += 3
    assert rank_r_hat(cauchy) > 1.05


def test_ranks_are_normal_scores(rng: torch.Generator) -> None:
    x = torch.randn(3, 40, 2, generator=rng)
    z = rank_normalised(x)
    torch.testing.assert_close(rank_normalised(x.exp()), z)  # only ranks matter
    assert abs(z.mean()) < 1e-12
    assert z.var() == pytest.approx(1, abs=0.05)
    tied = rank_normalised(torch.tensor([[1.0, 1.0, 2.0, 0.0]]))
    assert tied[0, 0] == tied[0, 1]


def test_each_series_is_by_itself(rng: torch.Generator) -> None:
    x = torch.stack([ar1(phi, 3, 101, rng) for phi in (0.0, 0.5, 0.9)], -1)
    for figure in (effective_sample_size, bulk_ess, tail_ess, split_r_hat, rank_r_hat):
        torch.testing.assert_close(figure(x), torch.stack([figure(x[..., i]) for i in range(3)]))


@pytest.mark.parametrize("phi", [0.9, 0.3, -0.6])
@pytest.mark.parametrize(("chains", "draws"), [(4, 100), (4, 101), (1, 37), (3, 8), (2, 9), (2, 1000)])
def test_equals_arviz(phi: float, chains: int, draws: int, rng: torch.Generator) -> None:
    stats = pytest.importorskip("arviz_stats.base").array_stats
    x = ar1(phi, chains, draws, rng)
    if chains > 1:
        assert float(split_r_hat(x)) == pytest.approx(stats.rhat(x.numpy(), method="split"), rel=1e-10)
        assert float(rank_r_hat(x)) == pytest.approx(stats.rhat(x.numpy(), method="rank"), rel=1e-10)
    whole = {"identity": effective_sample_size(x), "mean": effective_sample_size(split(x))}
    for name, value in {**whole, "bulk": bulk_ess(x), "tail": tail_ess(x)}.items():
        prob = (0.05, 0.95) if name == "tail" else None
        theirs = stats.ess(x.numpy(), method=name, prob=prob)
        assert float(value) == pytest.approx(theirs, rel=1e-9), name


def test_chains_that_stand_still_or_blow_up_have_no_figures(rng: torch.Generator) -> None:
    blown = torch.randn(4, 50, 2, generator=rng)
    blown[2, 30:, 0] = torch.nan
    for figure in (effective_sample_size, bulk_ess, tail_ess, split_r_hat, rank_r_hat):
        assert figure(torch.ones(4, 50)).isnan()
        assert figure(blown).isnan().tolist() == [True, False]


def test_refuses_what_is_no_chain() -> None:
    with pytest.raises(ValueError, match="at least 4 draws"):
        effective_sample_size(torch.randn(4, 3))
    with pytest.raises(ValueError, match="chains, draws"):
        split_r_hat(torch.randn(40))
