"""The streamed mean of weights against the one over all of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.core import stream
from vaebm_toolkit.evaluation.density import log_mean_exp
from vaebm_toolkit.evaluation.weights import Mean, WeightStream


def streamed(values: Tensor, size: int) -> Mean:
    weights = WeightStream()
    for part in values.split(size):
        weights.add(part)
    return weights.result()


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("spread", [1e-9, 0.5, 3.0, 200.0])
@pytest.mark.parametrize("level", [0.0, -3000.0, 5000.0])
def test_it_is_the_mean_over_all(size: int, spread: float, level: float) -> None:
    values = level + spread * torch.randn(1000, generator=stream(1))
    found, whole = streamed(values, size), log_mean_exp(values)
    assert found.log_mean == pytest.approx(float(whole.value), rel=1e-13, abs=1e-13)
    assert found.error == pytest.approx(float(whole.error), rel=1e-3 if spread < 1e-6 and level else 1e-9)
    ess = float((2 * torch.logsumexp(values, 0) - torch.logsumexp(2 * values, 0)).exp())
    assert found.ess == pytest.approx(ess, rel=1e-9)
    assert (found.draws, found.without) == (1000, 0)


def test_equal_weights_have_no_error() -> None:
    found = streamed(torch.full((10,), -700.0), 3)
    assert found == Mean(-700.0, 0.0, 10.0, 10, 0)


def test_weights_that_are_not_finite_count_as_zero() -> None:
    values = torch.tensor([math.nan, -math.inf, math.inf, 0.0, 0.0, math.log(2)])
    for size in (1, 2, 6):
        found = streamed(values, size)
        assert found.log_mean == pytest.approx(math.log(4 / 6))
        assert found.ess == pytest.approx(16 / 6)
        assert (found.draws, found.without) == (6, 3)
    assert streamed(values[:3], 2) == Mean(-math.inf, math.inf, 0.0, 3, 3)
