"""Curves and histograms: where the lines go."""

from __future__ import annotations

import math

import pytest
import torch

from vaebm_toolkit.report.charts import POINTS, Frame, curves, histogram, thinned, ticks
from vaebm_toolkit.report.embedding import by_energy, how_many, tile


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17.9), (1e-7, 2e-7), (-1e9, 1e9), (5, 5)])
def test_ticks_are_round_and_within(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 1 <= len(found) <= 9
    assert all(low - 1e-9 <= v <= high + 1e-9 for v in found)


def test_a_curve_goes_from_corner_to_corner() -> None:
    chart = curves("t", "", {"a": [(0, 0.0), (10, 1.0)]})
    left, right, top, bottom = chart.frame.box
    (x0, y0), (x1, y1) = [map(float, p.split()) for p in chart.lines[0].path[1:].split("L")]
    assert (x0, x1) == (left, right)
    assert top < y1 < y0 < bottom


def test_what_is_not_finite_is_a_gap() -> None:
    chart = curves("t", "", {"a": [(0, 0.0), (1, None), (2, 1.0)]})
    assert chart.lines[0].path.count("M") == 2
    assert "L" not in chart.lines[0].path


def test_three_powers_of_ten_are_logarithmic() -> None:
    assert curves("t", "", {"a": [(0, 1.0), (1, 1000.0)]}).log
    assert not curves("t", "", {"a": [(0, 1.0), (1, 999.0)]}).log
    assert not curves("t", "", {"a": [(0, -1.0), (1, 1000.0)]}).log


def test_thinning_keeps_spikes_and_ends_of_the_range() -> None:
    points: list[tuple[float, float | None]] = [(float(k), math.sin(k / 500)) for k in range(20_000)]
    points[12_345] = (12_345.0, 99.0)
    points[777] = (777.0, None)
    kept = thinned(points)
    assert len(kept) <= POINTS + 2
    assert (12_345.0, 99.0) in kept
    assert (777.0, None) in kept
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)


def test_a_histogram_counts_every_finite_value_once() -> None:
    values = [*range(100), 1e9, -1e9, math.nan, math.inf]
    chart = histogram("t", "", {"a": [float(v) for v in values], "b": [50.0]}, "x")
    for line in chart.lines:
        assert sum(float(p.split(",")[1]) for p in line.values.split()) == pytest.approx(1, abs=1e-3)
    assert chart.lines[0].last.startswith("102, mean")


def test_the_frame_is_affine() -> None:
    f = Frame(-1, 3, 10, 20)
    left, right, top, bottom = f.box
    assert (f.x(-1), f.x(1), f.x(3)) == (left, (left + right) / 2, right)
    assert (f.y(10), f.y(15), f.y(20)) == (bottom, (top + bottom) / 2, top)


def test_ranks_run_from_the_lowest_energy_to_the_highest() -> None:
    energies = torch.randperm(50, generator=torch.Generator().manual_seed(0)).double()
    shown = by_energy("t", torch.rand(50, 1, 4, 4), energies, "Sample", 5)
    assert [t.label for t in shown.tiles] == ["0", "12", "24", "37", "49"]
    assert "rank 1 of 50" in shown.tiles[0].alt


def test_large_images_stay_small_on_the_page() -> None:
    """Noise is the worst case: 256 × 256 colour pictures, a grid of three sets below 5 MB."""
    x = torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    found = tile(x, "noise").src
    assert found.startswith("data:image/jpeg;base64,")
    assert 3 * how_many(x.shape) * len(found) < 5_000_000
    assert tile(x[:, :32, :32], "noise").src.startswith("data:image/png;base64,")
