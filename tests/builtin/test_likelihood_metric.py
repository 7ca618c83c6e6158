"""The metric likelihood: its figures against models whose log Z and log h are known."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from vaebm_langevin.kernel import DataLangevin, LatentLangevin
from vaebm_langevin.options import DataOptions, LatentOptions
from vaebm_toolkit import RecipeError
from vaebm_toolkit.builtin import product
from vaebm_toolkit.builtin.data.gaussians import Gaussians25
from vaebm_toolkit.builtin.datasets import Gaussians25Options
from vaebm_toolkit.builtin.metrics import LikelihoodOptions
from vaebm_toolkit.core import Autoencoder, Elbo, EnergyFunction, Figure, Generator, Model, State, randn_like
from vaebm_toolkit.evaluation.density import lattice
from vaebm_toolkit.evaluation.likelihood import bits_per_dim

from ..math.affine import Affine
from ..math.test_density import LOADING, OFFSET, SIGMA, Linear, Quadratic, normaliser, tilted
from ..math.test_product import Points
from .test_density_metric import Truth

SMALL: dict[str, Any] = {"examples": 200, "samples": 2000, "temperatures": 40, "chains": 60}


class Encoding(Linear):
    """`Linear` with an encoder; ELBO by one sample of log p(x|z), KL in closed form."""

    def posterior(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        mean = (x - OFFSET) @ self.gain.T
        return mean, mean + randn_like(mean, rng) @ self.root.T

    def elbo(self, x: Tensor, rng: torch.Generator) -> Elbo:
        mean, z = self.posterior(x, rng)
        log_px = torch.distributions.Normal(z @ LOADING.T + OFFSET, SIGMA).log_prob(x).sum(1)
        trace = self.root.square().sum() - 2 - 2 * torch.logdet(self.root)
        return Elbo(log_px, 0.5 * (mean.square().sum(1) + trace)[:, None])

    def encode(self, x: Tensor, rng: torch.Generator) -> State:
        _, z = self.posterior(x, rng)
        return {"z0": z, "x": (x - OFFSET - z @ LOADING.T) / SIGMA}


def model_of(
    generator: Generator | None, energy: EnergyFunction | None, encoder: Autoencoder | None = None
) -> Model:
    """In data space where there is no generator."""
    chains = LatentLangevin(LatentOptions(), None), DataLangevin(DataOptions(), None)
    sampler = None if energy is None else chains[generator is None]
    given = None if encoder is None else lambda: encoder
    return Model(generator, energy, sampler, (2,), None, mean=True, with_encoder=given)


def data_of(h: MultivariateNormal) -> Any:
    torch.manual_seed(5)
    return SimpleNamespace(train=Points(h.sample((300,))), test=Points(h.sample((300,))), shape=(2,))


def measured(model: Model, data: Any, **options: Any) -> tuple[dict[str, float], dict[str, Any]]:
    metric = product.likelihood(LikelihoodOptions(**{**SMALL, **options}))
    metric.see(model)
    return dict(metric.compute([], data)), dict(metric.protocol)


def error(figure: float) -> float:
    """Its standard error, from its interval."""
    assert isinstance(figure, Figure)
    assert figure.high is not None
    return (figure.high - figure) / 1.96


def test_of_a_gaussian_the_truth_lies_between() -> None:
    model, energy = Encoding(), Quadratic()
    h, log_z = tilted(model, energy)
    data = data_of(h)
    found, protocol = measured(model_of(model, energy), data)
    x = data.test.x[:200]
    truth = float(h.log_prob(x).mean())
    for name, value, side in (
        ("log Z, samples", log_z, 1),
        ("log Z, lower", log_z, 1),
        ("log Z, upper", log_z, -1),
        ("log h, lower", truth, 1),
        ("log h, upper", truth, -1),
    ):
        assert side * (found[name] - value) < 4 * error(found[name]) + 0.01, name
        assert abs(found[name] - value) < 0.5, name
    assert found["bits/dim, lower"] == pytest.approx(bits_per_dim(found["log h, upper"], 2))
    assert found["bits/dim, upper"] == pytest.approx(bits_per_dim(found["log h, lower"], 2))
    assert protocol["density"] == model.density
    assert protocol["log Z"] == {
        "samples": 2000, "temperatures": 40, "chains": 60, "leapfrog": 3, "transitions": 100,
    }  # fmt: skip
    assert all(ess > product.ENOUGH for ess in protocol["found"]["ess"].values())
    assert set(protocol["found"]["acceptance"]) == {"lower", "upper", "starts"}
    assert "reading" not in protocol["found"]


def test_a_generator_alone_has_its_bounds() -> None:
    model = Encoding()
    data = data_of(model.exact)
    truth = model.exact.log_prob(data.test.x[:200])
    for given in (model_of(model, None), model_of(Plain(), None, encoder=model)):
        found, protocol = measured(given, data, draws=200)
        assert set(found) == {"ELBO", "log p", "bits/dim"}
        assert found["ELBO"] < found["log p"]
        assert found["log p"] == pytest.approx(float(truth.mean()), abs=0.02)
        assert error(found["log p"]) == pytest.approx(float(truth.std()) / 200**0.5, rel=0.02)
        assert found["bits/dim"] == pytest.approx(bits_per_dim(found["log p"], 2))
        assert protocol == {"examples": 200, "draws": 200, "density": model.density}
    only, protocol = measured(model_of(model, Quadratic()), data, draws=200, log_z=False)
    assert only == found


def test_25_gaussians_by_quadrature() -> None:
    """p_θ = N(b, Σ), exp(−E) the data's density: what is far from b needs weights, not luck."""
    data = Gaussians25(Gaussians25Options(test_size=200, train_size=200))
    model, energy = Encoding(), Truth(data)
    grid = lattice(torch.tensor([[-6.0, -6.0], [6.0, 6.0]]), 0.04, 0.0)
    log_z = float(torch.logsumexp(model.exact.log_prob(grid.points) - energy(grid.points), 0))
    log_z += 2 * math.log(grid.spacing)
    found, _ = measured(model_of(model, energy), data, samples=20_000, chains=200)
    assert abs(found["log Z, samples"] - log_z) < 4 * error(found["log Z, samples"])
    assert found["log Z, lower"] - log_z < 4 * error(found["log Z, lower"])
    x = data.test.batch(torch.arange(200)).to(OFFSET)
    truth = float((model.exact.log_prob(x) - energy(x)).mean()) - log_z
    assert truth - found["log h, upper"] < 4 * error(found["log Z, lower"]) + 0.05


def test_an_energy_alone() -> None:
    energy = Quadratic()
    h = MultivariateNormal(energy.centre, precision_matrix=energy.precision.detach())
    data = data_of(h)
    found, protocol = measured(model_of(None, energy), data)
    assert protocol["density"] == "density of x"
    assert "log p" not in found
    truth = float(h.log_prob(data.test.x[:200]).mean())
    for name, value, side in (
        ("log Z, lower", normaliser(), 1),
        ("log Z, upper", normaliser(), -1),
        ("log h, lower", truth, 1),
        ("log h, upper", truth, -1),
    ):
        assert side * (found[name] - value) < 4 * error(found[name]), name
        assert abs(found[name] - value) < 0.5, name
    assert measured(model_of(None, energy), data, log_z=False)[0] == {}


class Energy(EnergyFunction):
    """E(x) = s ‖x‖², or what it is told."""

    def __init__(self, sharpness: float = 1.0) -> None:
        super().__init__()
        self.sharpness = torch.nn.Parameter(torch.tensor(sharpness))

    def forward(self, x: Tensor) -> Tensor:
        return self.sharpness * x.square().sum(1)


class Steps(Encoding):
    """x rounded: no gradient."""

    def decode(self, eps: State) -> Any:
        return super().decode(eps)._replace(x=super().decode(eps).x.detach().round())


class Refusing(Encoding):
    def check_data(self, x: Tensor) -> None:
        raise RecipeError("These are no bits.", "Binarise them.")


class Plain(Affine):
    """An affine generator with a parameter, which says where and in what dtype chains run."""

    def __init__(self) -> None:
        super().__init__(torch.eye(2), torch.zeros(2))
        self.anchor = torch.nn.Parameter(torch.zeros(()))


def test_what_has_no_encoder_or_no_gradient_has_fewer_figures() -> None:
    data = data_of(Linear().exact)
    found, protocol = measured(model_of(Plain(), None), data)
    assert found == {}
    found, protocol = measured(model_of(Plain(), Energy()), data)
    assert set(found) == {"log Z, samples", "log Z, lower"}
    assert found["log Z, lower"] == pytest.approx(-math.log(3), abs=4 * error(found["log Z, lower"]))
    assert "cannot encode" in protocol["found"]["reading"]["log p"]
    assert "cannot encode" in protocol["found"]["reading"]["log Z, upper"]
    found, protocol = measured(model_of(Steps(), Energy()), data)
    assert set(found) == {"ELBO", "log p", "bits/dim", "log Z, samples", "log h, upper", "bits/dim, lower"}
    assert protocol["found"]["reading"]["log Z, lower"] == "none: E(T(ε)) has no gradient in ε"
    found, protocol = measured(model_of(Refusing(), Energy()), data)
    assert set(found) == {"log Z, samples", "log Z, lower", "log Z, upper"}
    assert protocol["found"]["reading"]["log p"] == "none: These are no bits."


def test_it_says_where_a_figure_is_no_estimate() -> None:
    """Samples of N(b, Σ) against an energy of width 0.003; starts far from h that do not move."""
    data = data_of(Linear().exact)
    found, protocol = measured(
        model_of(Encoding(), Energy(5e4)), data, samples=50, temperatures=3, transitions=0
    )
    reading = protocol["found"]["reading"]
    assert reading["log Z, samples"] == "one effective weight: a bound, no estimate"
    assert reading["log Z, upper"] == "upper bound below the lower one: its starts are no samples of h"
    assert (
        reading["log h, lower"] == reading["bits/dim, upper"] == f"as log Z, upper: {reading['log Z, upper']}"
    )
    for name in ("log Z, samples", "log h, lower", "bits/dim, upper"):
        assert isinstance(found[name], Figure)
        assert found[name].low is None, "no interval where the spread says nothing"
    assert error(found["log p"]) > 0


def test_nothing_depends_on_how_much_is_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, energy = Encoding(), Quadratic()
    data = data_of(tilted(model, energy)[0])
    small = {"examples": 50, "draws": 5, "samples": 300, "temperatures": 8, "chains": 20, "transitions": 5}
    several = []
    for size in (7, 64):
        monkeypatch.setattr(product, "ROWS", size)
        several.append(measured(model_of(model, energy), data, **small))
    assert several[1][0] == pytest.approx(several[0][0])
    assert several[1][1] == several[0][1]


def test_in_single_precision() -> None:
    data = Gaussians25(Gaussians25Options(test_size=100, train_size=100))
    torch.set_default_dtype(torch.float32)
    from vaebm_toolkit.builtin.mlp import build_energy, build_generator
    from vaebm_toolkit.builtin.networks import EnergyOptions, GeneratorOptions

    generator = build_generator(GeneratorOptions(width=8, depth=1, min_sigma=0.3), shape=(2,))
    energy = build_energy(EnergyOptions(width=8, depth=1), shape=(2,))
    found, _ = measured(model_of(generator, energy), data, temperatures=20)
    assert found["log Z, lower"] == pytest.approx(found["log Z, samples"], abs=0.1)
    assert found["log Z, upper"] == pytest.approx(found["log Z, samples"], abs=0.3)
