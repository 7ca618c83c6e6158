"""The kernel distance: closed forms, unbiasedness, other implementations on the same subsets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebm_toolkit.evaluation.kernel_distance import kernel, kernel_distance, mmd2, mmd2_error, subsets


def raw_moments(mean: float, sigma: float) -> list[float]:
    """E[x^k], k = 0 to 3, of N(mean, sigma²)"""
    return [1.0, mean, mean**2 + sigma**2, mean**3 + 3 * mean * sigma**2]


def gaussian_mmd2(a: list[tuple[float, float]], b: list[tuple[float, float]]) -> float:
    """Of two Gaussians with independent coordinates (mean, sigma): Σ_α c_α (E_a x^α − E_b x^α)².

    (xᵀy/d + 1)³ = Σ_{i+j ≤ 3} 3!/(i! j! (3−i−j)!) d^{−i−j} x₁ⁱx₂ʲ y₁ⁱy₂ʲ, in d = 2.
    """
    p, q = ([raw_moments(*c) for c in law] for law in (a, b))
    total = 0.0
    for i in range(4):
        for j in range(4 - i):
            c = 6 / (math.factorial(i) * math.factorial(j) * math.factorial(3 - i - j)) / 2 ** (i + j)
            total += c * (p[0][i] * p[1][j] - q[0][i] * q[1][j]) ** 2
    return total


A, B = [(0.2, 1.0), (-0.5, 0.7)], [(0.5, 1.3), (-0.2, 0.4)]


def draw(law: list[tuple[float, float]], n: int, rng: torch.Generator) -> Tensor:
    mean, sigma = torch.tensor(law).T
    return mean + sigma * torch.randn(n, 2, generator=rng)


def test_unbiased_at_a_handful_of_rows(rng: torch.Generator) -> None:
    found = torch.tensor([mmd2(draw(A, 4, rng), draw(B, 7, rng)) for _ in range(4000)])
    assert abs(found.mean() - gaussian_mmd2(A, B)) < 4 * found.std() / 4000**0.5


def test_zero_on_average_for_one_distribution(rng: torch.Generator) -> None:
    found = torch.tensor([mmd2(draw(A, 5, rng), draw(A, 5, rng)) for _ in range(4000)])
    assert abs(found.mean()) < 4 * found.std() / 4000**0.5
    assert (found < 0).any()


def test_many_rows_reach_the_closed_form(rng: torch.Generator) -> None:
    found = torch.tensor([mmd2(draw(A, 2000, rng), draw(B, 2000, rng)) for _ in range(20)])
    assert abs(found.mean() - gaussian_mmd2(A, B)) < 4 * found.std() / 20**0.5
    assert found.mean() == pytest.approx(gaussian_mmd2(A, B), rel=0.1)


def test_blocks_change_nothing(rng: torch.Generator) -> None:
    a, b = torch.randn(23, 6, generator=rng), torch.randn(17, 6, generator=rng)
    x, y, xy = kernel(a, a), kernel(b, b), kernel(a, b)
    naive = (
        (x.sum() - x.trace()) / (23 * 22) + (y.sum() - y.trace()) / (17 * 16) - 2 * xy.mean()
    )  # the definition
    for rows in (1, 5, 100):
        assert mmd2(a, b, rows=rows) == pytest.approx(float(naive), rel=1e-12)


def test_subsets_are_without_replacement(rng: torch.Generator) -> None:
    index = subsets(50, 20, 30, rng)
    assert index.shape == (20, 30)
    assert all(len(set(row.tolist())) == 30 for row in index)
    assert subsets(10, 3, 1000, rng).shape == (3, 10)


def test_the_mean_over_subsets_is_near_the_estimate_of_all_rows(rng: torch.Generator) -> None:
    a, b = draw(A, 500, rng), draw(B, 500, rng)
    found = kernel_distance(a, b, subsets(500, 200, 100, rng), subsets(500, 200, 100, rng))
    assert abs(found.value - mmd2(a, b)) < 4 * found.std / 200**0.5


def test_the_error_of_the_subsets_is_the_spread_over_other_subsets(rng: torch.Generator) -> None:
    a, b = draw(A, 200, rng), draw(B, 200, rng)
    found = [kernel_distance(a, b, subsets(200, 10, 20, rng), subsets(200, 10, 20, rng)) for _ in range(100)]
    spread = torch.tensor([f.value for f in found]).std()
    error = torch.tensor([f.error(10) for f in found]).square().mean().sqrt()
    assert float(error / spread) == pytest.approx(1, abs=0.3)  # 100 of them: ± 0.07


def test_equals_clean_fid_on_the_same_subsets(rng: torch.Generator) -> None:
    fid = pytest.importorskip("cleanfid.fid")
    a, b = torch.randn(90, 32, generator=rng), torch.randn(70, 32, generator=rng) + 0.2
    before = np.random.get_state()
    np.random.seed(3)
    theirs = fid.kernel_distance(a.numpy(), b.numpy(), num_subsets=10, max_subset_size=50)
    np.random.seed(3)
    draws = [(np.random.choice(70, 50, replace=False), np.random.choice(90, 50, replace=False))
             for _ in range(10)]  # fmt: skip
    np.random.set_state(before)
    index_b, index_a = (torch.tensor(np.stack(i)) for i in zip(*draws, strict=True))
    assert kernel_distance(a, b, index_a, index_b).value == pytest.approx(theirs, rel=1e-9)


def test_equals_torch_fidelity_on_the_same_subsets(rng: torch.Generator) -> None:
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = torch.randn(90, 32, generator=rng), torch.randn(70, 32, generator=rng) + 0.2
    theirs = kid.kid_features_to_metric(
        a, b, kid_subsets=10, kid_subset_size=50, rng_seed=5, verbose=False, kid_kernel="poly",
        kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1,
    )  # fmt: skip
    same = np.random.RandomState(5)
    draws = [(same.choice(90, 50, replace=False), same.choice(70, 50, replace=False)) for _ in range(10)]
    index_a, index_b = (torch.tensor(np.stack(i)) for i in zip(*draws, strict=True))
    found = kernel_distance(a, b, index_a, index_b)
    assert found.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert found.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9)


def test_refuses_sets_that_do_not_compare() -> None:
    with pytest.raises(ValueError, match="one length"):
        mmd2(torch.randn(5, 3), torch.randn(5, 4))
    with pytest.raises(ValueError, match="at least 2"):
        mmd2(torch.randn(1, 3), torch.randn(5, 3))


def test_the_error_is_the_spread_over_other_samples() -> None:
    rng = torch.Generator().manual_seed(0)
    b = draw(B, 400, rng)
    sets = [draw(A, 400, rng) for _ in range(200)]
    spread = torch.tensor([mmd2(a, b) for a in sets]).std()
    error = torch.tensor([mmd2_error(a, b) for a in sets]).square().mean().sqrt()
    assert float(error / spread) == pytest.approx(1, abs=0.2)  # 200 of them: ± 0.05 each


def test_a_group_left_out_is_left_out() -> None:
    """The jackknife's one pass equals computing each distance anew."""
    rng = torch.Generator().manual_seed(1)
    a, b = draw(A, 50, rng), draw(B, 30, rng)
    parts = torch.arange(50).tensor_split(5)
    left = torch.tensor([mmd2(a[torch.isin(torch.arange(50), p, invert=True)], b) for p in parts]).double()
    assert mmd2_error(a, b, 5) == pytest.approx(float((4 * left.var(correction=0)).sqrt()), rel=1e-9)
