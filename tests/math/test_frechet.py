"""The Fréchet distance: known values, both sizes of matrix, invariances."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.evaluation.frechet import frechet_distance


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


@pytest.mark.parametrize(("n", "m", "d"), [(50, 40, 6), (10, 12, 30), (40, 8, 20), (8, 40, 20)])
def test_against_the_matrix_root(n: int, m: int, d: int) -> None:
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(n, d, generator=rng) @ torch.randn(d, d, generator=rng)
    b = torch.randn(m, d, generator=rng) + 0.3
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
