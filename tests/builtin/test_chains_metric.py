"""The metric chains on kernels whose chains are known."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from vaebm_langevin.kernel import LatentLangevin
from vaebm_langevin.options import LatentOptions
from vaebm_toolkit.builtin.chains import Chains, evenly
from vaebm_toolkit.builtin.metrics import ChainsOptions
from vaebm_toolkit.core import (
    EnergyFunction,
    LogDensity,
    Model,
    RowStreams,
    Sampler,
    SampleStream,
    State,
    randn_like,
    stream,
)
from vaebm_toolkit.evaluation.sampling import sample
from vaebm_toolkit.testing.tiny import TinyDataset
from vaebm_toolkit.testing.tiny_networks import TinyEnergy, TinyGenerator

SHAPE = (1, 8, 8)


class Zero(EnergyFunction):
    """E = 0: h(ε) is N(0, I)."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.zero * x.flatten(1).sum(1)


class First(EnergyFunction):
    """E = the mean of x: it follows the chain."""

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.one * x.flatten(1).mean(1)


class Independent(Sampler):
    """Draws anew from N(0, I)."""

    space, steps = "latent", 4

    def step(
        self, state: State, log_density: LogDensity, rng: torch.Generator
    ) -> tuple[State, Mapping[str, Tensor]]:
        return {k: randn_like(v, rng) for k, v in state.items()}, {"acceptance": torch.tensor(0.75)}


class Frozen(Independent):
    """Does not move, but for a hair: equal draws have no R̂."""

    def step(
        self, state: State, log_density: LogDensity, rng: torch.Generator
    ) -> tuple[State, Mapping[str, Tensor]]:
        return {k: v + 1e-4 * randn_like(v, rng) for k, v in state.items()}, {}


def measured(sampler: Sampler, energy: EnergyFunction, **options: int) -> tuple[Chains, dict[str, float]]:
    generator = TinyGenerator(SHAPE).eval()
    metric = Chains(ChainsOptions(**{"count": 32, "length": 100, **options}))
    metric.see(Model(generator, energy, sampler, SHAPE, (0.0, 1.0), mean=True))
    return metric, dict(metric.compute([], TinyDataset(SHAPE)))


def test_independent_draws() -> None:
    metric, found = measured(Independent(), First())
    assert found["R̂"] == pytest.approx(1, abs=0.02)
    assert found["autocorrelation time"] == pytest.approx(1, abs=0.25)
    assert found["effective samples per chain"] == pytest.approx(50, rel=0.25)
    assert found["acceptance"] == 0.75
    # d = 2 + 64 + 64 coordinates in each of 32 chains: a standard error of (2/(130 · 32))^½/2 = 0.011
    assert found["‖ε‖/√d"] == pytest.approx(1, abs=0.044)
    assert set(metric.protocol["found"]["‖ε‖/√d by group"]) == {"z0", "z1", "x"}
    assert metric.protocol["steps of the long chains"] == 100


def test_chains_that_stand_still() -> None:
    _, found = measured(Frozen(), First())
    assert found["R̂"] > 3
    assert found["autocorrelation time"] > 40
    assert found["effective samples per chain"] < 2


def test_the_temperature_is_that_of_the_law() -> None:
    """Of N(0, I), drawn exactly: U = ½‖ε‖² and T = 1."""
    _, found = measured(Independent(), Zero(), count=64)
    assert found["temperature"] == pytest.approx(1, abs=4 * (2 / (130 * 64)) ** 0.5)
    halved = LatentLangevin(LatentOptions(step_size=0.2, noise_scale=0.1**0.5))
    _, cold = measured(halved, Zero(), length=200)
    # s² = 0.1 where T = 1 has η = 0.2; over 1 − η/4 by the step's own error
    assert cold["temperature"] == pytest.approx(0.5 / 0.95, abs=0.05)


def test_the_film_shows_the_samples_chains() -> None:
    torch.manual_seed(1)
    generator, energy = TinyGenerator(SHAPE).eval(), TinyEnergy(SHAPE)
    model = Model(generator, energy, LatentLangevin(LatentOptions(steps=6)), SHAPE, (0.0, 1.0), mean=True)
    metric = Chains(ChainsOptions(count=5, length=10, film=3, frames=3))
    metric.see(model)
    found = metric.compute(SampleStream([], 0, seed=3), TinyDataset(SHAPE))
    film = metric.pictures["chains"]
    assert film.shape == (3, 1 + 3, *SHAPE)
    rng = RowStreams([stream(3, "sample", i) for i in range(5)])
    ends = sample(model, 5, rng, model.like)
    assert torch.equal(film[:, -1], ends[:3])
    assert found["energy, end"] == pytest.approx(float(energy(ends).detach().mean()), rel=1e-9)
    assert list(metric.protocol["found"]["energy by step"]) == ["0", "1", "2", "3", "4", "5", "6"]


def test_models_without_chains_have_none() -> None:
    metric = Chains(ChainsOptions())
    metric.see(Model(TinyGenerator(SHAPE).eval(), None, None, SHAPE, (0.0, 1.0), mean=True))
    assert metric.compute([], TinyDataset(SHAPE)) == {}


def test_steps_are_spread() -> None:
    assert evenly(500, 33)[-1] == 500
    assert len(evenly(500, 33)) == 33
    assert evenly(0, 4) == []
