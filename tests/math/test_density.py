"""Log-likelihoods in the plane against a model whose densities are Gaussians in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from vaebm_toolkit.core import Autoencoder, Decoded, Elbo, EnergyFunction, Fitted, State, randn_like, stream
from vaebm_toolkit.evaluation.density import (
    decoder_sigma,
    lattice,
    log_mean_exp,
    log_weights,
    log_z_by_samples,
    partition,
    plane_likelihood,
    share_on,
)

LOADING = torch.tensor([[0.8, 0.3], [-0.2, 0.5]], dtype=torch.float64)
OFFSET = torch.tensor([0.5, -1.0], dtype=torch.float64)
SIGMA = 0.3


class Linear(Autoencoder):
    """x = W z + b + σ ε: p(x) = N(b, W Wᵀ + σ²). Its q(z|x) is the posterior, widened by `wide`."""

    def __init__(self, wide: float = 1.3) -> None:
        super().__init__()
        self.groups = {"z0": (2,), "x": (2,)}
        self.anchor = nn.Parameter(torch.zeros(()))
        covariance = torch.linalg.inv(torch.eye(2) + LOADING.T @ LOADING / SIGMA**2)
        self.gain = covariance @ LOADING.T / SIGMA**2
        self.root = wide * torch.linalg.cholesky(covariance)

    @property
    def exact(self) -> MultivariateNormal:
        return MultivariateNormal(OFFSET, LOADING @ LOADING.T + SIGMA**2 * torch.eye(2))

    def decode(self, eps: State) -> Decoded:
        x = eps["z0"] @ LOADING.T + OFFSET + SIGMA * eps["x"]
        return Decoded(x, torch.full((len(x),), 2 * math.log(SIGMA)))

    def log_weight(self, x: Tensor, rng: torch.Generator) -> Tensor:
        mean = (x - OFFSET) @ self.gain.T
        noise = randn_like(mean, rng)
        z = mean + noise @ self.root.T
        q = MultivariateNormal(mean, scale_tril=self.root).log_prob(z)
        unit = torch.distributions.Normal(0.0, 1.0)
        residual = (x - OFFSET - z @ LOADING.T) / SIGMA
        return (unit.log_prob(residual) - math.log(SIGMA)).sum(1) + unit.log_prob(z).sum(1) - q

    def elbo(self, x: Tensor, rng: torch.Generator) -> Elbo:
        raise NotImplementedError

    def encode(self, x: Tensor, rng: torch.Generator) -> State:
        raise NotImplementedError


class Quadratic(EnergyFunction):
    """E(x) = ½ (x − c)ᵀ A (x − c) + constant."""

    def __init__(self) -> None:
        super().__init__()
        self.precision = nn.Parameter(torch.tensor([[4.0, 1.0], [1.0, 3.0]]))
        self.centre = torch.tensor([0.2, -0.4])

    def forward(self, x: Tensor) -> Tensor:
        d = x - self.centre
        return 0.5 * torch.einsum("bi,ij,bj->b", d, self.precision, d) + 0.7


def normaliser() -> float:
    """log ∫ exp(−E(x)) dx of the quadratic energy."""
    return math.log(2 * math.pi) - 0.5 * math.log(4.0 * 3.0 - 1.0) - 0.7


def tilted(model: Linear, energy: Quadratic) -> tuple[MultivariateNormal, float]:
    """h ∝ p exp(−E), Gaussian, and its log Z: −E is log N(x; c, A⁻¹) up to `normaliser`."""
    p, a = model.exact, energy.precision.detach()
    precision = p.precision_matrix + a
    mean = torch.linalg.solve(precision, p.precision_matrix @ p.mean + a @ energy.centre)
    both = MultivariateNormal(energy.centre, p.covariance_matrix + torch.linalg.inv(a))
    log_z = float(both.log_prob(p.mean)) + normaliser()
    return MultivariateNormal(mean, precision_matrix=precision), log_z


@pytest.fixture
def points() -> Tensor:
    h, _ = tilted(Linear(), Quadratic())
    torch.manual_seed(5)
    return h.sample((3000,))


def test_the_lattice_covers_the_data_with_its_margin(points: Tensor) -> None:
    grid = lattice(points, 0.1, 0.5)
    height, width = grid.shape
    assert len(grid.points) == height * width
    left, right, bottom, top = grid.limits
    low, high = points.amin(0) - 0.5, points.amax(0) + 0.5
    assert (left, bottom) == pytest.approx(tuple(low.tolist()))
    assert right >= high[0] - 1e-9
    assert top >= high[1] - 1e-9
    square = grid.points.view(height, width, 2)
    torch.testing.assert_close(square[:, 1:, 0] - square[:, :-1, 0], torch.full((height, width - 1), 0.1))
    torch.testing.assert_close(square[1:, :, 1] - square[:-1, :, 1], torch.full((height - 1, width), 0.1))


def test_quadrature_error_is_the_one_of_the_trapezoidal_rule() -> None:
    """2 (e^{−2π²σ²/h²}) per axis at the worst offset, as `Grid` says; nothing at spacing σ."""
    normal = MultivariateNormal(torch.zeros(2), torch.eye(2))
    box = torch.tensor([[-9.0, -9.0], [9.0, 9.0]])
    for spacing in (1.0, 1.8):
        grid = lattice(box, spacing, 0.0)
        mass = float(normal.log_prob(grid.points).exp().sum()) * spacing**2
        assert abs(mass - 1) <= 4.1 * math.exp(-2 * math.pi**2 / spacing**2) + 1e-12


def test_log_mean_exp_errors_cover_its_spread() -> None:
    """Over 400 repeats of 200 log-normal weights: the mean error is the spread, z-scores have size 1."""
    rng = stream(0, "lognormal")
    draws = 0.5 * torch.randn(200, 400, generator=rng) - 0.125  # E exp = 1
    found = log_mean_exp(draws)
    assert float(found.error.mean() / found.value.std()) == pytest.approx(1, abs=0.1)
    # the mean of the logarithm lies ½ var below the logarithm of the mean
    bias = -0.5 * (math.exp(0.25) - 1) / 200
    assert abs(float(found.value.mean()) - bias) < 4 * float(found.value.std()) / 20


def test_weights_are_those_of_the_generator(points: Tensor) -> None:
    model = Linear()
    weights = log_weights(model, points[:50], 400, stream(0))
    assert weights.shape == (400, 50)
    found, exact = log_mean_exp(weights), model.exact.log_prob(points[:50])
    z = (found.value - exact) / found.error
    assert abs(float(z.mean())) < 4 / math.sqrt(50)
    assert float(z.square().mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / 50))


def test_sigma_of_the_decoder() -> None:
    model = Linear()
    torch.testing.assert_close(decoder_sigma(model, stream(0), OFFSET, 7), torch.full((7, 2), SIGMA))


def test_partition_of_the_product(points: Tensor) -> None:
    """log Z within 4 of its standard errors over ten seeds, which are not too large either; log h too."""
    model, energy = Linear(), Quadratic()
    h, log_z = tilted(model, energy)
    grid = lattice(points, 0.1, 1.5)
    found = [partition(Fitted(model, energy), grid, 16, stream(seed)) for seed in range(10)]
    z = torch.tensor([(f.log_z - log_z) / f.error for f in found])
    assert z.abs().max() < 4.5  # Student's t with 15 degrees of freedom
    assert all(0 < f.error < 0.03 for f in found)
    assert all(abs(float(f.mass.value)) < 4.5 * float(f.mass.error) + 1e-4 for f in found)
    assert found[0].edge < 1e-4
    dense = h.log_prob(grid.points).exp()
    torch.testing.assert_close(found[0].log_density.exp(), dense, atol=0.3 * float(dense.max()), rtol=0)
    assert float(found[0].log_density.exp().sum()) * grid.spacing**2 == pytest.approx(1)


def test_partition_of_the_energy_alone_is_exact(points: Tensor) -> None:
    found = partition(Fitted(None, Quadratic()), lattice(points, 0.1, 3.0), 16, stream(0))
    assert found.log_z == pytest.approx(normaliser(), abs=1e-8)
    assert found.error == 0


def test_samples_give_the_same_log_z() -> None:
    model, energy = Linear(), Quadratic()
    _, log_z = tilted(model, energy)
    found = log_z_by_samples(Fitted(model, energy), 40_000, stream(3), OFFSET)
    assert abs(float(found.value) - log_z) < 4 * float(found.error)
    assert 0 < float(found.error) < 0.02


def test_log_likelihood_of_the_product_the_generator_and_the_energy(points: Tensor) -> None:
    model, energy = Linear(), Quadratic()
    h, _ = tilted(model, energy)
    alone = MultivariateNormal(energy.centre, precision_matrix=energy.precision.detach())
    for fitted, exact in (
        (Fitted(model, energy), h), (Fitted(model, None), model.exact), (Fitted(None, energy), alone),
    ):  # fmt: skip
        found = plane_likelihood(fitted, points, cells=60, margin=0.6, point_draws=64, sample_draws=20_000)
        truth = exact.log_prob(points)
        spread = float(truth.std()) / math.sqrt(len(points))
        own = math.sqrt(found.weights_error**2 + found.partition.error**2)
        assert abs(found.nats - float(truth.mean())) < 4 * own + 0.002, "0.002: ½ var of 64 weights"
        assert found.error == pytest.approx(math.sqrt(spread**2 + own**2), rel=0.05)
        assert (found.by_samples is None) == (None in fitted)


def test_the_same_figures_from_the_same_seed(points: Tensor) -> None:
    model = Fitted(Linear(), Quadratic())
    given = {"cells": 30, "point_draws": 8, "grid_draws": 4, "sample_draws": 1000}
    a, b, c = (plane_likelihood(model, points[:200], seed=s, **given) for s in (0, 0, 1))
    assert a.nats == b.nats
    assert a.nats != c.nats


def test_a_grid_that_holds_h_need_not_hold_the_generator(points: Tensor) -> None:
    model, energy = Linear(), Quadratic()
    _, log_z = tilted(model, energy)
    grid = lattice(points, 0.1, 0.2)
    assert share_on(grid, model, stream(1)) < 0.97
    found = partition(Fitted(model, energy), grid, 64, stream(2))
    assert abs(found.log_z - log_z) < 4 * found.error + 0.005
