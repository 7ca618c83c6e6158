"""Counting modes: known cases, samples in no mode, and what finite samples are expected to give."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vaebm_toolkit import DataError
from vaebm_toolkit.builtin.data import digits
from vaebm_toolkit.builtin.datasets import DigitsOptions
from vaebm_toolkit.builtin.modes import build, expected_kl, kl_to_uniform
from vaebm_toolkit.core import ModalDataset


class Line(ModalDataset):
    """Points on a line: x in [m, m + 1) is in mode m of `modes`, all else in none."""

    shape: tuple[int, ...] = (1,)
    bounds = None

    def __init__(self, modes: int) -> None:
        self.modes = modes

    def mode_of(self, x: Tensor) -> Tensor:
        m = x[:, 0].floor().long()
        return torch.where((m >= 0) & (m < self.modes), m, -1)

    def about_modes(self) -> dict[str, float]:
        return {"width": 1.0}


def figures(modes: int, points: list[float]) -> dict[str, float]:
    return dict(build(None).compute(torch.tensor(points)[:, None].split(3), Line(modes)))


def test_all_in_one_mode() -> None:
    found = figures(7, [2.5] * 10)
    assert found == {"modes": 1, "in modes": 1, "kl to uniform": pytest.approx(math.log(7), rel=1e-12)}


def test_evenly_in_all_modes() -> None:
    found = figures(7, [m + 0.5 for m in range(7)] * 2)
    assert found == {"modes": 7, "in modes": 1, "kl to uniform": pytest.approx(0, abs=1e-12)}


def test_samples_in_no_mode_are_left_out_of_the_divergence() -> None:
    """Half, a quarter and a quarter of those in a mode: KL = log 4 − H = ½ log 2."""
    found = figures(4, [0.1, 0.2, 1.1, 3.1, -5.0, 9.0])
    assert found["modes"] == 3
    assert found["in modes"] == pytest.approx(4 / 6)
    assert found["kl to uniform"] == pytest.approx(math.log(4) - 1.5 * math.log(2), rel=1e-12)


def test_no_sample_in_any_mode() -> None:
    assert figures(4, [-1.0, 5.0]) == {"modes": 0, "in modes": 0}


def test_protocol() -> None:
    metric = build(None)
    metric.compute([torch.full((10, 1), 0.5)], Line(4))
    assert metric.protocol == {
        "samples": 10, "modes": 4, "kl of uniform samples": float(f"{expected_kl(10, 4):.4g}"), "width": 1.0,
    }  # fmt: skip


def test_divergence_is_torchs() -> None:
    counts = torch.tensor([5, 0, 1, 10, 4])
    p = counts.double() / counts.sum()
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(p), torch.distributions.Categorical(torch.ones(5).double())
    )
    assert kl_to_uniform(counts) == pytest.approx(float(expected), rel=1e-6)  # torch clamps p = 0


@pytest.mark.parametrize(("n", "modes"), [(100, 1000), (2000, 1000), (500, 25)])
def test_expected_divergence_of_uniform_draws(n: int, modes: int) -> None:
    """The mean over 300 sets of draws is within 4 standard errors of the exact sum."""
    rng = torch.Generator().manual_seed(0)
    draws = torch.randint(modes, (300, n), generator=rng)
    kl = torch.tensor([kl_to_uniform(row.bincount(minlength=modes)) for row in draws])
    assert abs(float(kl.mean()) - expected_kl(n, modes)) < 4 * float(kl.std()) / 300**0.5


def test_expected_divergence_of_many_and_of_few() -> None:
    assert expected_kl(26_000, 1000) == pytest.approx(999 / 52_000, rel=0.01)
    assert expected_kl(1, 1000) == pytest.approx(math.log(1000), rel=1e-12)
    assert expected_kl(10, 1) == pytest.approx(0, abs=1e-12)


def test_data_without_modes_are_refused() -> None:
    data = digits.build(DigitsOptions())
    for ask in (
        lambda: build(None).check(data),
        lambda: build(None).compute([torch.zeros(2, 1, 8, 8)], data),
    ):
        with pytest.raises(DataError, match="no modes") as caught:
            ask()
        assert '--evaluate.metrics "frechet"' in caught.value.fix
        assert "--dataset stacked-mnist" in caught.value.fix
