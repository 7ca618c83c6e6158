"""Grids and scatter plots, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaebm_toolkit.report.pictures import SHADES, grid, histograms, save_png, scatter, titled, to_uint8


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_places_every_image(channels: int, rng: torch.Generator) -> None:
    images = torch.rand(5, channels, 4, 6, generator=rng)
    drawn = np.asarray(grid(images, columns=3, scale=2, gap=1)).reshape(2 * 9 + 1, 3 * 13 + 1, channels)
    pixels = to_uint8(images)
    for i, image in enumerate(pixels):
        top, left = 1 + 9 * (i // 3), 1 + 13 * (i % 3)
        assert np.array_equal(drawn[top : top + 8 : 2, left : left + 12 : 2], image)
        assert np.array_equal(drawn[top + 1 : top + 8 : 2, left + 1 : left + 12 : 2], image)
    assert (drawn[::9] == 255).all()
    assert (drawn[9:, 27:] == 255).all()  # the sixth place is empty


def test_grid_defaults() -> None:
    assert grid(torch.zeros(9, 1, 8, 8)).size == (3 * (64 + 2) + 2,) * 2
    assert grid(torch.zeros(3, 3, 256, 256)).size == (2 * 258 + 2,) * 2
    with pytest.raises(ValueError, match="1 or 3 channels"):
        grid(torch.zeros(1, 2, 4, 4))


def test_values_are_rounded_and_clamped() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, float("nan")], dtype=torch.float32)
    assert to_uint8(values.view(1, 1, 1, 6)).reshape(-1).tolist() == [0, 0, 128, 255, 255, 0]
    every = torch.arange(256, dtype=torch.float32) / 255
    assert to_uint8(every.view(1, 1, 16, 16)).reshape(-1).tolist() == list(range(256))


def test_scatter_puts_points_where_they_are() -> None:
    points = torch.tensor([[0.25, 0.25], [0.5, 0.75]])
    drawn = np.asarray(scatter({"truth": points, "samples": points + 5}, size=101, limits=(0, 1, 0, 1)))
    top, left = 14 + 20, 14
    dark = drawn[..., 0] < 250
    inside = dark[top + 1 : top + 100, left + 1 : left + 100]
    rows, columns = np.nonzero(inside)  # each point and its four neighbours; y grows upwards
    centres = {(75, 25), (25, 50)}
    around = {(r + dr, c + dc) for r, c in centres for dr, dc in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))}
    assert {(r + 1, c + 1) for r, c in zip(rows.tolist(), columns.tolist(), strict=True)} == around
    right = left + 101 + 14
    assert not dark[top + 2 : top + 99, right + 2 : right + 99].any()  # all samples lie outside


def test_scatter_takes_its_axes_from_the_first_entry() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    far = torch.tensor([[1e9, float("nan")]])
    assert scatter({"truth": points, "far": far}).size == (2 * (320 + 14) + 14, 320 + 20 + 28)


def test_save_png_makes_folders(tmp_path: Path) -> None:
    path = save_png(grid(torch.zeros(1, 1, 8, 8)), tmp_path / "a" / "b.png")
    assert Image.open(path).format == "PNG"


def test_densities_follow_the_points_on_the_same_axes() -> None:
    """Ink grows with √density; the upper right quarter is the one with x, y > 0."""
    seen = []

    def density(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return 0.25 * ((x > 0).all(1)).double()

    drawn = np.asarray(scatter({"data": torch.ones(2, 2)}, 100, (-1, 1, -1, 1), {"learned": density}))
    assert drawn.shape[1] == 2 * (100 + 14) + 14
    assert seen[0].shape == (2500, 2)
    panel = drawn[14 + 20 : 14 + 120, 14 + 114 : 14 + 214, 0]
    assert (panel[1:50, 50:99] == 143).all()  # half of the ink, 255 − 0.5 · (255 − 31)
    assert (panel[51:99, 1:99] == 255).all()
    assert (panel[1:50, 1:50] == 255).all()


def test_histograms_put_the_mass_where_the_values_are() -> None:
    """All values in the last tenth, or beyond the limits: the outline is on the floor elsewhere."""
    values = torch.cat([torch.full((90,), 9.5), torch.full((10,), 50.0)])
    drawn = np.asarray(histograms({"late": values}, "E", (0.0, 10.0), size=200, bins=10))
    ys, xs = np.nonzero((drawn == SHADES[0]).all(2))
    high = xs[(ys < 100) & (ys > 40)]  # below the legend, well above the floor
    assert len(high) > 0
    assert high.min() >= 14 + 180 - 2


def test_titled_stacks_its_strips() -> None:
    strips = {"a": Image.new("RGB", (30, 10), "red"), "b": Image.new("RGB", (20, 5), "blue")}
    drawn = np.asarray(titled(strips))
    assert drawn.shape[:2] == (10 + 5 + 2 * 20 + 2 * 14, 30 + 2 * 14)
    assert (drawn[14 + 20 : 14 + 30, 14:44] == (255, 0, 0)).all()
    assert (drawn[64:69, 14:34] == (0, 0, 255)).all()
