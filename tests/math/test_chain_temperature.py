"""Temperatures of chains: Gaussians, and Langevin's own stationary law."""

from __future__ import annotations

import math

import pytest
import torch

from vaebm_langevin.kernel import DataLangevin
from vaebm_langevin.options import DataOptions
from vaebm_toolkit.core import data_density, run_chain
from vaebm_toolkit.evaluation.chain_temperature import (
    expected_norm,
    gaussian_temperature,
    norm_drift,
    virial_temperature,
)


@pytest.mark.parametrize("d", [1, 2, 3, 100, 10_000, 1_000_000])
def test_expected_norm(d: int) -> None:
    """√(2/π), √(π/2), √(8/π), and √d (1 − 1/(4d) + 1/(32d²) + 5/(128d³)) from there on."""
    known = {1: math.sqrt(2 / math.pi), 2: math.sqrt(math.pi / 2), 3: math.sqrt(8 / math.pi)}
    series = math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (32 * d**2) + 5 / (128 * d**3))
    assert expected_norm(d) == pytest.approx(known.get(d, series), rel=1e-8)


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_noise_keeps_its_norm_and_temperature(scale: float, rng: torch.Generator) -> None:
    n, d = 500, 48
    eps = scale * torch.randn(n, 3, 4, 4, generator=rng)
    drift = norm_drift(eps)
    assert abs(drift.mean.value - scale * drift.expected) < 4 * drift.mean.error
    assert drift.mean.error == pytest.approx(scale * ((d - drift.expected**2) / n) ** 0.5, rel=0.2)
    assert drift.ratio == pytest.approx(scale, abs=4 * drift.mean.error / drift.expected)
    found = gaussian_temperature(eps)
    assert abs(found.value - scale**2) < 4 * found.error
    assert found.error == pytest.approx(scale**2 * (2 / (n * d)) ** 0.5, rel=0.2)


def test_virial_of_a_double_well(rng: torch.Generator) -> None:
    """U = v⁴/4 − v², which has no Gaussian in it, at T = 0.7: draws by its quantiles, E[v ∂U] = T."""
    temperature = 0.7
    grid = torch.linspace(-5, 5, 200_001)
    weight = (-(grid**4 / 4 - grid**2) / temperature).exp()
    assert float((weight * grid * (grid**3 - 2 * grid)).sum() / weight.sum()) == pytest.approx(0.7, rel=1e-9)
    v = grid[torch.multinomial(weight[::10], 20_000, replacement=True, generator=rng) * 10][:, None]
    found = virial_temperature(v, v**3 - 2 * v)
    assert abs(found.value - temperature) < 4 * found.error


@pytest.mark.parametrize(
    ("precision", "step_size", "noise"), [(1.5, 0.5, None), (5.0, 0.3, None), (2.0, 0.25, 0.3)]
)
def test_langevin_has_the_temperature_of_its_stationary_law(
    precision: float, step_size: float, noise: float | None, rng: torch.Generator
) -> None:
    """v ← (1 − ηλ/2) v + s ω: E[v · λv]/d = s²/η / (1 − ηλ/4), s²/η for small steps."""
    options = DataOptions(steps=60, step_size=step_size, noise_scale=noise, grad_clip=None)
    density = data_density(lambda x: 0.5 * precision * x.square().sum(1))
    v = run_chain(DataLangevin(options), {"x": torch.zeros(4000, 4)}, density, rng)["x"]
    implied = (step_size**0.5 if noise is None else noise) ** 2 / step_size
    found = virial_temperature(v, precision * v)
    assert abs(found.value - implied / (1 - step_size * precision / 4)) < 4 * found.error
    assert found.error == pytest.approx(found.value * (2 / v.numel()) ** 0.5, rel=0.1)
    # per unit of precision it is the Gaussian's
    assert gaussian_temperature(precision**0.5 * v).value == pytest.approx(found.value, rel=1e-12)


def test_one_chain_has_no_error() -> None:
    assert math.isnan(gaussian_temperature(torch.randn(1, 5)).error)


def test_refuses_forces_of_another_shape() -> None:
    with pytest.raises(ValueError, match="one shape"):
        virial_temperature(torch.randn(5, 3), torch.randn(5, 4))
