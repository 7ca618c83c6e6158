"""Resampling: coverage where it is known, and what becomes of the Fréchet distance's bias."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.evaluation.bootstrap import (
    bootstrap,
    frechet_error,
    frechet_interval,
    frechet_replicates,
    resampled,
)
from vaebm_toolkit.evaluation.frechet import Moments, frechet_distance


def error_of(features: Tensor, reference: Tensor) -> float:
    """Of features in memory, read in batches."""
    return frechet_error(features.split(100), Moments.of(features.split(100)), reference)


def test_interval_of_a_mean(rng: torch.Generator) -> None:
    """x̄ ± z s √((n − 1)/n)/√n, as n and the draws grow."""
    x = torch.randn(400, generator=rng)
    found = bootstrap(lambda rows: rows.mean(), x, 4000, rng)
    error = float(x.std(correction=0)) / 400**0.5
    assert found.value == float(x.mean())
    assert found.error == pytest.approx(error, rel=4 / (2 * 4000) ** 0.5)
    assert abs(found.bias) < 4 * error / 4000**0.5
    # the standard error of a 2.5 % quantile of 4,000 normal values is 0.042 σ
    assert abs(found.low - (found.value - 1.96 * error)) < 4 * 0.042 * error
    assert abs(found.high - (found.value + 1.96 * error)) < 4 * 0.042 * error


def test_coverage_for_a_gaussian_mean(rng: torch.Generator) -> None:
    """P(|t_{n−1}| < z √((n − 1)/n)), exactly, for many draws: 0.938 at n = 60, not 0.95."""
    stats = pytest.importorskip("scipy.stats")
    n, sets = 60, 500
    expected = 1 - 2 * stats.t.sf(1.959964 * ((n - 1) / n) ** 0.5, n - 1)
    hits = 0
    for _ in range(sets):
        found = bootstrap(lambda rows: rows.mean(), torch.randn(n, generator=rng), 400, rng)
        hits += found.low <= 0 <= found.high
    assert abs(hits / sets - expected) < 4 * (expected * (1 - expected) / sets) ** 0.5


def model(d: int) -> tuple[Tensor, Tensor, Moments]:
    """Samples N(0.1, diag(0.8 … 1.3)²); the reference is N(0, I), known exactly."""
    sigma = torch.linspace(0.8, 1.3, d)
    return torch.full((d,), 0.1), sigma, Moments(1_000_001, torch.zeros(d), 1_000_000 * torch.eye(d))


@pytest.mark.parametrize(("n", "d", "m"), [(40, 6, 50), (12, 20, 50), (12, 20, 9)])
def test_replicates_are_distances_of_resampled_rows(n: int, d: int, m: int, rng: torch.Generator) -> None:
    x, reference = torch.randn(n, d, generator=rng) + 3, torch.randn(m, d, generator=rng) + 2.5
    streams = [torch.Generator().manual_seed(7) for _ in range(2)]
    found = frechet_replicates(x, reference, 5, streams[0])
    expected = [frechet_distance(x[resampled(n, streams[1])], reference) for _ in range(5)]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_the_interval_covers_the_distance_of_n_rows(rng: torch.Generator) -> None:
    """Percentiles as they are do not: at N = 10 d the bias is of the size of the standard error."""
    n, d, sets = 200, 20, 60
    mean, sigma, reference = model(d)
    draws = [mean + sigma * torch.randn(n, d, generator=rng) for _ in range(sets)]
    expected = sum(frechet_distance(x, reference) for x in draws) / sets
    hits = plain = 0
    for x in draws:
        found = frechet_interval(x, reference, 100, rng)
        hits += found.low <= expected <= found.high
        plain += found.low + found.bias <= expected <= found.high + found.bias
    assert hits / sets > 0.95 - 4 * (0.95 * 0.05 / sets) ** 0.5
    assert plain / sets < 0.2


@pytest.mark.parametrize(
    ("n", "d", "excess"), [(400, 2, 1.15), (400, 10, 1.15), (400, 40, 1.4), (30, 40, 1.7)]
)
def test_standard_error_of_the_distance(n: int, d: int, excess: float, rng: torch.Generator) -> None:
    """Against the spread of 300 distances: right for N ≫ d, too large elsewhere, never too small."""
    mean, sigma, reference = model(d)
    draws = [mean + sigma * torch.randn(n, d, generator=rng) for _ in range(300)]
    spread = torch.tensor([frechet_distance(x, reference) for x in draws]).std()
    found = torch.tensor([error_of(x, reference) for x in draws]).mean()
    assert 1 - 4 / 600**0.5 < found / spread < excess + 4 / 600**0.5


def test_the_error_is_made_of_derivatives_in_the_weights(rng: torch.Generator) -> None:
    """g_i by differences: a row counted 1 + h times, with Σ w in the mean and Σ w − 1 in the covariance."""
    n, d, h = 15, 4, 1e-5
    x, reference = torch.randn(n, d, generator=rng) + 1, torch.randn(30, d, generator=rng)

    def distance(w: Tensor) -> Tensor:
        w = n * w / w.sum()
        mean = w @ x / n
        scatter = (w[:, None] * (x - mean)).T @ (x - mean)
        return torch.tensor(frechet_distance(Moments(n, mean, scatter), reference))

    rows = torch.eye(n)
    g = torch.stack([(distance(1 + h * e) - distance(1 - h * e)) / (2 * h) for e in rows])
    assert error_of(x, reference) == pytest.approx(float((g - g.mean()).norm()), rel=1e-6)


def test_samples_that_are_all_alike_have_no_error(rng: torch.Generator) -> None:
    assert error_of(torch.ones(10, 3), torch.randn(20, 3, generator=rng)) == pytest.approx(0, abs=1e-12)


def test_refuses_draws_that_do_not_reach_the_tails(rng: torch.Generator) -> None:
    with pytest.raises(ValueError, match="draws"):
        bootstrap(lambda rows: rows.mean(), torch.randn(9), 30, rng)
    with pytest.raises(ValueError, match="2 rows"):
        bootstrap(lambda rows: rows.mean(), torch.randn(1), 100, rng)
