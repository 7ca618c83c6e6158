"""The Fréchet distance: known values, both sizes of matrix, moments in one pass, other implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebm_toolkit.evaluation.bootstrap import frechet_error
from vaebm_toolkit.evaluation.frechet import Moments, condensed, frechet_distance

SIZES = [(50, 40, 6), (10, 12, 30), (40, 8, 20), (8, 40, 20)]


def whitened(n: int, d: int, seed: int) -> Tensor:
    """n points with sample mean exactly 0 and sample covariance exactly I."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    x = x - x.mean(0)
    root = torch.linalg.cholesky(x.T @ x / (n - 1))
    return torch.linalg.solve_triangular(root, x.T, upper=False).T


def closed_form(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """‖Δμ‖² + tr(A + B − 2 (A^{1/2} B A^{1/2})^{1/2}) by eigenvalues."""
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    middle = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * middle


def test_two_gaussians_with_known_parameters() -> None:
    a, b = whitened(200, 5, 0), whitened(300, 5, 1)
    scale = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0])
    shift = torch.tensor([0.0, 1.0, -2.0, 0.0, 0.5])
    expected = shift.square().sum() + (1 - scale).square().sum()  # commuting covariances
    assert frechet_distance(a, b * scale + shift) == pytest.approx(float(expected), rel=1e-10)


def pair(n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(n, d, generator=rng) @ torch.randn(d, d, generator=rng)
    return a, torch.randn(m, d, generator=rng) + 0.3


@pytest.mark.parametrize(("n", "m", "d"), SIZES)
def test_against_the_matrix_root(n: int, m: int, d: int) -> None:
    a, b = pair(n, m, d)
    expected = closed_form(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-6)


def test_symmetric_and_zero_on_itself() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(30, 4, generator=rng), torch.randn(20, 4, generator=rng) * 2
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-10)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-10)


def test_refuses_what_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(torch.randn(1, 3), torch.randn(5, 3))


@pytest.mark.parametrize("batches", [[7, 1, 92], [100], [1] * 100])
def test_moments_of_batches_are_those_of_all_rows(batches: list[int]) -> None:
    x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0)) + 1e4  # squares would lose 8 digits
    found = Moments.of(x.split(batches))
    assert found.count == 100
    np.testing.assert_allclose(found.mean, x.numpy().mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(x.numpy(), rowvar=False), rtol=1e-9, atol=1e-11)


def test_moments_merge_in_any_order() -> None:
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    a, b, c = (Moments.one(part) for part in x.split([10, 20, 30]))
    torch.testing.assert_close(a.merged(b).merged(c).scatter, c.merged(b.merged(a)).scatter)


@pytest.mark.parametrize(("n", "m", "d"), SIZES)
def test_moments_give_the_distance_of_their_features(n: int, m: int, d: int) -> None:
    """Of any rank; with d > N rounding must not become a root."""
    a, b = pair(n, m, d)
    expected = frechet_distance(a, b)
    moments = Moments.of(a.split(3)), Moments.of(b.split(7))
    assert frechet_distance(*moments) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(a, moments[1]) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(moments[0], b) == pytest.approx(expected, rel=1e-8)


def test_float32_features_lose_nothing() -> None:
    """Everything after the features is float64."""
    a, b = (x.float() for x in pair(50, 40, 6))
    assert frechet_distance(a, b) == frechet_distance(a.double(), b.double())
    assert Moments.of([a]).scatter.dtype == torch.float64


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 16), (2000, 2000, 64)])
def test_equals_clean_fid(n: int, m: int, d: int) -> None:
    fid = pytest.importorskip("cleanfid.fid")
    scipy = pytest.importorskip("scipy")
    if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 18):
        pytest.skip("clean-fid 0.1.35 calls sqrtm as SciPy before 1.18 had it")
    a, b = pair(n, m, d)
    x, y = a.numpy(), b.numpy()
    theirs = fid.frechet_distance(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-9)
    assert frechet_distance(Moments.of(a.split(64)), Moments.of([b])) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 200, 16), (2000, 2000, 64), (30, 50, 64)])
def test_equals_torch_fidelity(n: int, m: int, d: int) -> None:
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    a, b = pair(n, m, d)
    statistics = fid.fid_features_to_statistics(a), fid.fid_features_to_statistics(b)
    theirs = fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-6)
    assert frechet_distance(Moments.of(a.split(64)), Moments.of([b])) == pytest.approx(theirs, rel=1e-6)


def test_a_batch_must_have_rows() -> None:
    with pytest.raises(ValueError, match=r"\(B, d\)"):
        Moments.of(torch.randn(5, 3))  # iterating it gives vectors
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(Moments.one(torch.randn(1, 3)), torch.randn(5, 3))


@pytest.mark.parametrize("rows", [5, 40])
def test_few_rows_are_kept_and_many_are_condensed(rows: int) -> None:
    """Either way the distance and its error are the same."""
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(rows, 12, generator=rng), torch.randn(30, 12, generator=rng) + 0.3
    kept = condensed(a.split(3))
    assert isinstance(kept, torch.Tensor) == (rows <= 12)
    moments = Moments.of(a.split(3))
    assert frechet_distance(kept, b) == pytest.approx(frechet_distance(moments, b), rel=1e-9)
    errors = [frechet_error(a.split(4), ours, b) for ours in (kept, moments, a)]
    assert errors == pytest.approx([errors[0]] * 3, rel=1e-6)
