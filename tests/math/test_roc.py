"""AUROC: pairs counted one by one, its variance, its interval's coverage."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch

from vaebm_toolkit.evaluation.roc import auroc, hanley_mcneil


def tied(rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    positive = torch.randint(0, 12, (70,), generator=rng).double() + 2
    return positive, torch.randint(0, 12, (50,), generator=rng).double()


def test_is_the_share_of_ordered_pairs(rng: torch.Generator) -> None:
    p, n = tied(rng)
    pairs = (p[:, None] > n[None]).double() + 0.5 * (p[:, None] == n[None]).double()
    found = auroc(p, n)
    assert found.value == pytest.approx(float(pairs.mean()), abs=1e-14)
    variance = pairs.mean(1).var() / 70 + pairs.mean(0).var() / 50
    assert found.error == pytest.approx(float(variance.sqrt()), rel=1e-12)
    assert auroc(n, p).value == pytest.approx(1 - found.value, abs=1e-14)
    assert auroc(n, p).error == pytest.approx(found.error, rel=1e-12)


def test_depends_on_ranks_alone(rng: torch.Generator) -> None:
    p, n = torch.randn(40, generator=rng) + 1, torch.randn(30, generator=rng)
    assert auroc(p.exp(), n.exp())[:2] == pytest.approx(auroc(p, n)[:2], abs=1e-14)
    p[3], n[4] = torch.inf, -torch.inf
    assert math.isfinite(auroc(p, n).value)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_two_gaussians(shift: float, rng: torch.Generator) -> None:
    """A = Φ(δ/√2); the error is the spread, the interval covers 95 % of the time."""
    expected, sets = NormalDist().cdf(shift / 2**0.5), 500
    found = [
        auroc(torch.randn(60, generator=rng) + shift, torch.randn(40, generator=rng)) for _ in range(sets)
    ]
    values = torch.tensor([f.value for f in found])
    assert abs(values.mean() - expected) < 4 * values.std() / sets**0.5
    variance = torch.tensor([f.error**2 for f in found]).mean()
    assert variance / values.var() == pytest.approx(1, abs=4 * (2 / sets) ** 0.5)  # DeLong's is unbiased
    hits = sum(low <= expected <= high for low, high in (f.interval() for f in found))
    assert hits / sets > 0.95 - 4 * (0.95 * 0.05 / sets) ** 0.5


def test_the_interval_inverts_its_variance(rng: torch.Generator) -> None:
    found = auroc(torch.randn(60, generator=rng) + 1, torch.randn(40, generator=rng))
    for end in found.interval(0.9):
        z = (found.value - end) / hanley_mcneil(end, 60, 40) ** 0.5
        assert abs(z) == pytest.approx(NormalDist().inv_cdf(0.95), rel=1e-9)


def test_classes_that_are_apart_have_an_interval_all_the_same() -> None:
    low, high = auroc(torch.arange(10.0) + 100, torch.arange(10.0)).interval()
    assert high == 1
    assert 0.6 < low < 0.9
    mirrored = auroc(torch.arange(10.0), torch.arange(10.0) + 100).interval()
    assert mirrored == pytest.approx((0, 1 - low), abs=1e-12)


def test_variance_of_no_separation() -> None:
    """At a = ½ with m = n it is that of the Mann–Whitney statistic, (m + n + 1)/(12 m n)."""
    assert hanley_mcneil(0.5, 30, 30) == pytest.approx(61 / (12 * 900), rel=1e-12)


def test_equals_scikit_learn(rng: torch.Generator) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    p, n = tied(rng)
    labels = [1] * len(p) + [0] * len(n)
    theirs = metrics.roc_auc_score(labels, torch.cat([p, n]).numpy())
    assert auroc(p, n).value == pytest.approx(theirs, abs=1e-14)


def test_refuses_what_has_no_rank() -> None:
    with pytest.raises(ValueError, match="at least 2 of each"):
        auroc(torch.randn(1), torch.randn(5))
    with pytest.raises(ValueError, match="NaN"):
        auroc(torch.tensor([0.0, torch.nan]), torch.randn(5))
