"""Precision, recall, density, coverage: cases by hand, expectations, the package of the authors."""

from __future__ import annotations

import pytest
import torch

from vaebm_toolkit.evaluation.pairwise import square_distances
from vaebm_toolkit.evaluation.precision_recall import (
    PrecisionRecall,
    expected_coverage,
    nearest_squares,
    precision_recall,
)


def test_by_hand_on_a_line() -> None:
    """Balls of data, k = 1: [−1, 1], [0, 2], [1, 5]; of samples: [1.5, 2.5], [2, 3], [2.5, 15.5]."""
    real, fake = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[2.0], [2.5], [9.0]])
    found = precision_recall(real, fake, k=1, density_k=1)
    # 2 is on the surface of the second ball and in the third, 2.5 in the third; only 3 is in a sample's ball
    assert found == PrecisionRecall(precision=2 / 3, recall=1 / 3, density=1.0, coverage=2 / 3)


def test_a_surface_is_inside() -> None:
    """Where a sample is a copy of the neighbour that sets a radius, its distance is that radius."""
    real = torch.tensor([[0.0], [1.0], [10.0]])
    found = precision_recall(real, torch.tensor([[1.0], [100.0]]), k=1, density_k=1)
    assert found.precision == 0.5
    assert found.coverage == 1.0


def test_samples_far_away_are_nowhere(rng: torch.Generator) -> None:
    real, fake = torch.randn(50, 3, generator=rng), torch.randn(40, 3, generator=rng) + 100
    assert precision_recall(real, fake) == PrecisionRecall(0, 0, 0, 0)


@pytest.mark.parametrize(("n", "m"), [(40, 40), (60, 25)])
def test_expectations_for_samples_as_the_data(n: int, m: int, rng: torch.Generator) -> None:
    """Density 1; coverage from ranks alone, whatever the distribution."""
    found = torch.tensor(
        [
            precision_recall(torch.rand(n, 2, generator=rng), torch.rand(m, 2, generator=rng))[2:]
            for _ in range(300)
        ]
    )
    error = found.std(0) / 300**0.5
    assert abs(found[:, 0].mean() - 1) < 4 * error[0]
    assert abs(found[:, 1].mean() - expected_coverage(n, m)) < 4 * error[1]


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("dtype32", [False, True])
def test_equals_prdc_exactly(k: int, dtype32: bool, rng: torch.Generator) -> None:
    prdc = pytest.importorskip("prdc")
    real = torch.randn(150, 16, generator=rng)
    fake = 1.3 * torch.randn(110, 16, generator=rng) + 0.1
    if dtype32:
        real, fake = real.float(), fake.float()
    theirs = prdc.compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)
    assert precision_recall(real, fake, k=k, density_k=k)._asdict() == pytest.approx(theirs, abs=1e-14)
    assert 0 < theirs["precision"] < 1
    assert 0 < theirs["recall"] < 1


def test_blocks_change_nothing(rng: torch.Generator) -> None:
    real, fake = torch.randn(53, 4, generator=rng), torch.randn(31, 4, generator=rng)
    whole = precision_recall(real, fake)
    assert all(precision_recall(real, fake, rows=rows) == whole for rows in (1, 2, 7, 31))
    naive = (real[:, None] - real[None]).square().sum(2).sort(1).values[:, 1:6]
    torch.testing.assert_close(nearest_squares(real, 5, rows=7), naive)


def test_square_distances(rng: torch.Generator) -> None:
    a, b = torch.randn(5, 3, generator=rng) + 10, torch.randn(4, 3, generator=rng) + 10
    torch.testing.assert_close(
        square_distances(a.float(), b.float()), torch.cdist(a, b) ** 2, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(square_distances(a, b), (a[:, None] - b[None]).square().sum(2))
    assert square_distances(a, a).min() >= 0


def test_refuses_too_few_rows() -> None:
    with pytest.raises(ValueError, match="at least 6 features"):
        precision_recall(torch.randn(5, 3), torch.randn(9, 3))
    with pytest.raises(ValueError, match="at least 1"):
        precision_recall(torch.randn(9, 3), torch.randn(9, 3), k=0)


def test_intervals_are_those_of_other_samples() -> None:
    """The mean jackknife error of each figure, against its spread over 200 sets of samples."""
    rng = torch.Generator().manual_seed(0)
    real = torch.randn(300, 2, generator=rng)
    found, errors = [], []
    for _ in range(200):
        figures = precision_recall(real, 0.8 * torch.randn(300, 2, generator=rng) + 0.3)
        found.append([float(f) for f in figures])
        errors.append([(f.high - f.low) / (2 * 1.96) for f in figures])
    ratio = torch.tensor(errors).mean(0) / torch.tensor(found).std(0)
    precision, recall, density, coverage = ratio.tolist()
    assert precision == pytest.approx(1, abs=0.2)
    assert density == pytest.approx(1, abs=0.2)
    # balls of fixed size: recall's own radii shrink with the samples left, which this leaves out
    assert 0.8 < coverage < 1.5
    assert 0.8 < recall < 2.5
