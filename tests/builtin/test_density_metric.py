"""The metric density: figures, protocol, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from vaebm_langevin.kernel import DataLangevin, LatentLangevin
from vaebm_langevin.options import DataOptions, LatentOptions
from vaebm_toolkit import DataError, RecipeError
from vaebm_toolkit.builtin.data.gaussians import Gaussians25
from vaebm_toolkit.builtin.datasets import Gaussians25Options
from vaebm_toolkit.builtin.likelihoods import density
from vaebm_toolkit.builtin.mlp import build_energy, build_generator
from vaebm_toolkit.builtin.networks import EnergyOptions, GeneratorOptions
from vaebm_toolkit.core import EnergyFunction, Generator, Model


class Truth(EnergyFunction):
    """E = −log p of the data, up to a constant."""

    def __init__(self, data: Gaussians25) -> None:
        super().__init__()
        self.data, self.anchor = data, torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 3.0 - self.data.log_prob(x)


def model_of(generator: Generator | None, energy: EnergyFunction | None) -> Model:
    """In data space where there is no generator."""
    chains = LatentLangevin(LatentOptions(), None), DataLangevin(DataOptions(), None)
    sampler = None if energy is None else chains[generator is None]
    return Model(generator, energy, sampler, (2,), None, mean=True)


@pytest.fixture
def data() -> Gaussians25:
    return Gaussians25(Gaussians25Options(test_size=500, train_size=50))


def test_the_true_energy_has_the_true_likelihood(data: Gaussians25) -> None:
    metric = density(None)
    metric.see(model_of(None, Truth(data)))
    found = metric.compute([], data)
    points = data.test.batch(torch.arange(500)).double()
    assert found["log-likelihood"] == pytest.approx(float(data.log_prob(points).mean()), abs=1e-5)
    assert found["log-likelihood s.e."] == pytest.approx(1 / 500**0.5, rel=0.2)
    assert metric.protocol["truth"] == -1.4516
    assert metric.protocol["truth on these points"] == pytest.approx(found["log-likelihood"], abs=1e-4)
    facts = metric.protocol["exp(−E(x)) / Z"]
    assert facts["mass at its edge"] < 1e-12
    assert facts["log Z on the grid"] == "-3.0000 ± 0.0000"


def test_each_model_has_its_protocol(data: Gaussians25) -> None:
    generator = build_generator(GeneratorOptions(width=8, depth=1, min_sigma=0.3), shape=(2,))
    energy = build_energy(EnergyOptions(width=8, depth=1), shape=(2,))
    metric = density(None)
    for model in (model_of(generator, None), model_of(generator, energy)):
        metric.see(model)
        assert metric.compute([], data)["log-likelihood"] < -1.4
    assert set(metric.protocol) == {
        "split", "points", "truth", "truth on these points", "p_θ(x)", "p_θ(x) exp(−E(x)) / Z",
    }  # fmt: skip
    assert "log Z by samples of p_θ" in metric.protocol["p_θ(x) exp(−E(x)) / Z"]


def test_what_it_refuses(data: Gaussians25) -> None:
    generator = build_generator(GeneratorOptions(width=8, depth=1), shape=(2,))
    metric = density(None)
    with pytest.raises(RecipeError, match="density needs a generator that can encode, and Tempered") as e:
        metric.see(model_of(generator.tempered([0.7], 1.0), None))
    assert "temperature 1" in e.value.fix
    metric.see(model_of(generator, None))
    with pytest.raises(DataError, match=r"two values, and these have shape \(1, 8, 8\)"):
        metric.compute([], SimpleNamespace(shape=(1, 8, 8)))
