"""Annealed importance sampling, forwards and backwards, on models whose Z is known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.core import State, rand, randn, standard_normal, stream
from vaebm_toolkit.evaluation.annealing import Plan, forward, linear, reverse, sigmoidal
from vaebm_toolkit.evaluation.density import log_mean_exp
from vaebm_toolkit.evaluation.paths import DataNoise, Path, data_path, latent_path
from vaebm_toolkit.evaluation.pilot import Pilot, effective, reach, spaced, tuned

from .affine import Affine, Product


def test_schedules_rise_from_0_to_1() -> None:
    for betas in (linear(10), sigmoidal(10), sigmoidal(10, 8.0), linear(1), sigmoidal(1)):
        assert (betas[0], betas[-1]) == (0, 1)
        assert all(a < b for a, b in pairwise(betas))
    assert linear(4) == [0, 0.25, 0.5, 0.75, 1]
    assert sigmoidal(10)[5] == pytest.approx(0.5)
    assert sigmoidal(10)[1] == pytest.approx(1 - sigmoidal(10)[9])
    assert sigmoidal(10, 1e-6)[3] == pytest.approx(0.3)


@pytest.mark.parametrize("plan", [
    Plan([0, 1], [1, 1], 1, 1),
    Plan([0, 0.4, 1], [1, 0.5, 1], 1, 1),
    Plan([0, 0.05, 0.5, 1], [1, 1.9, 0.2, 1], 3, 2),
], ids=["no transition", "MALA", "HMC, steps that do not suit"])  # fmt: skip
def test_both_directions_are_unbiased_whatever_the_transitions(plan: Plan) -> None:
    """E[w] = Z forwards from the base, E[w′] = 1/Z backwards from h."""
    product, n = Product(2, 1.0), 40_000
    exact = product.log_z
    down = log_mean_exp(forward(product.path, plan, n, stream(1)).log_weight)
    up = log_mean_exp(reverse(product.path, plan, product.exact(n), stream(2)).log_weight)
    assert abs(float(down.value) - exact) < 4 * float(down.error)
    assert abs(-float(up.value) - exact) < 4 * float(up.error)
    assert 0 < float(down.error) < 0.03
    assert 0 < float(up.error) < 0.1


def test_the_ends_are_weighted_samples_of_h() -> None:
    """E[w f(end)] / E[w] = E_h[f] for f = ε and ε εᵀ."""
    product, n = Product(3, 2.0), 20_000
    found = forward(product.path, Plan(linear(4), [1, 0.6, 0.5, 0.5, 1], 2, 1), n, stream(3))
    eps = torch.cat([found.end["z0"], found.end["x"]], 1)
    weight = torch.softmax(found.log_weight, 0)[:, None]
    size = float(weight.square().sum()) ** 0.5  # 1 / √ESS
    h = product.h
    centred = eps - h.mean
    assert float(((weight * centred).sum(0) / h.variance.sqrt()).abs().max()) < 4 * size
    covariance = centred.T @ (weight * centred)
    scale = torch.outer(h.variance, h.variance).sqrt()
    assert float(((covariance - h.covariance_matrix) / scale).abs().max()) < 4 * 2**0.5 * size


def test_the_gap_closes_with_more_temperatures() -> None:
    """mean log w ≤ log Z ≤ −mean log w′, both about 1/K away (Neal, 2001; Grosse et al., 2015)."""
    product, n = Product(6, 4.0), 400
    below, above = [], []
    for k in (16, 64, 256):
        plan = tuned(product.path, linear(k), stream(0, k), leapfrog=3)
        down = forward(product.path, plan, n, stream(1, k)).log_weight
        up = reverse(product.path, plan, product.exact(n), stream(2, k)).log_weight
        below.append((product.log_z - float(down.mean()), float(down.std()) / n**0.5))
        above.append((-float(up.mean()) - product.log_z, float(up.std()) / n**0.5))
    for side in (below, above):
        distances = [d for d, _ in side]
        assert all(d > 4 * error for d, error in side), "each chain alone has a strict bound"
        assert all(a / b == pytest.approx(4, rel=0.5) for a, b in pairwise(distances))


def test_a_plan_that_suits_the_density() -> None:
    """Pilot runs find steps that are accepted about as often as asked for, at every temperature."""
    product = Product(20, 10.0)
    for leapfrog, acceptance in ((1, 0.57), (5, 0.7)):
        pilot = Pilot(acceptance=acceptance)
        for plan in (
            tuned(product.path, sigmoidal(60), stream(0), leapfrog=leapfrog, moves=2, pilot=pilot),
            spaced(product.path, stream(1), ess=0.95, leapfrog=leapfrog, moves=2, pilot=pilot),
        ):
            found = forward(product.path, plan, 300, stream(5))
            assert len(found.acceptance) == len(plan.betas) - 2
            assert len(plan.step_sizes) == len(plan.betas)
            assert float((found.acceptance - acceptance).abs().max()) < 0.25
            assert float(found.acceptance.mean()) == pytest.approx(acceptance, abs=0.12)


def test_temperatures_are_close_where_the_density_changes_fast() -> None:
    product = Product(20, 10.0)
    plan = spaced(product.path, stream(1), ess=0.8)
    betas = torch.tensor(plan.betas)
    steps = betas.diff()
    assert bool((steps > 0).all())
    assert float(steps[0]) < 0.3 * float(steps[-1])
    closer = spaced(product.path, stream(1), ess=0.95)
    assert len(closer.betas) > 1.5 * len(plan.betas)
    capped = spaced(product.path, stream(1), ess=0.999999, most=20)
    assert len(capped.betas) == 21


def test_reach_is_where_the_effective_sample_size_falls_short() -> None:
    ratio = -3 * torch.randn(500, generator=stream(0)).square()
    step = reach(ratio, 0.7, 1.0)
    assert 0 < step < 1
    assert float(effective(step * ratio)) == pytest.approx(0.7, abs=1e-6)
    assert reach(ratio, 0.001, 0.5) == 0.5
    assert reach(torch.zeros(4), 0.9, 1.0) == 1
    assert reach(torch.cat([ratio, torch.tensor([-math.inf])]), 0.7, 1.0) == step
    assert float(effective(torch.zeros(9))) == pytest.approx(1)


def bimodal_path(size: int) -> tuple[Path, float]:
    """E(ε) = 4.5 − log(e^{−8(ε₁−1)²} + 3 e^{−8(ε₁+1)²}) + 2 Σ_{i>1} ε_i²: two modes of weights 1 : 3."""

    def energy(x: Tensor) -> Tensor:
        first = x[:, 0]
        tilt = torch.logaddexp(-8 * (first - 1) ** 2, math.log(3) - 8 * (first + 1) ** 2)
        return 4.5 - tilt + 2 * x[:, 1:].square().sum(1)

    eye = torch.eye(size)
    # ∫ N(ε; 0, 1) exp(−8 (ε ∓ 1)²) dε = exp(−8/17) / √17 each
    log_z = -4.5 + math.log(4) - 8 / 17 - 0.5 * math.log(17) - 0.5 * (size - 1) * math.log(5)
    return latent_path(Affine(eye, torch.zeros(size)), energy, eye), log_z


def bimodal_samples(n: int, size: int, right: float) -> State:
    """Samples of h, a share `right` of them in the mode at 16/17, whose share of h is ¼."""
    noise = randn((n, size), stream(7))
    side = torch.where(torch.arange(n) < round(right * n), 16 / 17, -16 / 17)
    flat = torch.cat([side[:, None] + noise[:, :1] / 17**0.5, noise[:, 1:] / 5**0.5], 1)
    return {"z0": flat[:, : size // 2], "x": flat[:, size // 2 :]}


def test_two_modes() -> None:
    n = 1000
    path, log_z = bimodal_path(10)
    plan = tuned(path, sigmoidal(100), stream(0))
    down = log_mean_exp(forward(path, plan, n, stream(1)).log_weight)
    up = log_mean_exp(reverse(path, plan, bimodal_samples(n, 10, 0.25), stream(2)).log_weight)
    assert abs(float(down.value) - log_z) < 4 * float(down.error)
    assert abs(float(up.value) + log_z) < 4 * float(up.error)
    assert float(down.error) < 0.1


def test_starts_from_one_mode_alone_raise_1_over_z_by_no_more_than_their_density_ratio() -> None:
    """E[w′] = c/Z, c the mean of q/h over forward ends. q: the mode of weight ¼ alone, so q/h ≤ 4.

    Chains hardly cross between the modes once they are apart: of forward ends that mode has more than its
    share of h, so c > 1, and the "upper" bound lies log c below log Z.
    """
    n = 4000
    path, log_z = bimodal_path(4)
    starts = bimodal_samples(n, 4, 1.0)
    slow = tuned(path, sigmoidal(300), stream(0))
    mean = log_mean_exp(reverse(path, slow, starts, stream(2)).log_weight)
    log_c = float(mean.value) + log_z
    assert 4 * float(mean.error) < log_c < math.log(4)
    ends = forward(path, slow, n, stream(3)).end
    share = float((torch.cat([ends["z0"], ends["x"]], 1)[:, 0] > 0).double().mean())
    error = math.hypot(float(mean.error), (0.25 / n) ** 0.5 / share)
    assert abs(log_c - math.log(4 * share)) < 4 * error


def test_energies_that_are_not_finite_are_where_h_is_zero() -> None:
    """E = ½ ε₁² for ε₁ > 0; elsewhere ∞, NaN or −∞: Z = ½ · 2^(−½).

    Backwards from h no chain gets to where h is zero, so E[w′] is 1/Z times the base's mass elsewhere, ½.
    """
    for outside in (math.inf, math.nan, -math.inf):

        def energy(x: Tensor, outside: float = outside) -> Tensor:
            return torch.where(x[:, 0] > 0, 0.5 * x[:, 0].square(), outside * x[:, 0].abs())

        path = latent_path(Affine(torch.eye(3), torch.zeros(3)), energy, torch.eye(3))
        plan = tuned(path, linear(8), stream(0))
        n = 2000
        found = forward(path, plan, n, stream(1))
        without = ~torch.isfinite(found.log_weight)
        assert abs(float(without.double().mean()) - 0.5) < 4 * 0.5 / n**0.5
        weights = found.log_weight.masked_fill(without, -math.inf)
        mean = log_mean_exp(weights)
        assert abs(float(mean.value) - math.log(0.5 / 2**0.5)) < 4 * float(mean.error)
        h = standard_normal({"z0": (1,), "x": (2,)}, n, stream(4))
        h["z0"] = h["z0"].abs() / 2**0.5
        up = log_mean_exp(reverse(path, plan, h, stream(5)).log_weight)
        assert abs(float(up.value) - math.log(0.5) + math.log(0.5 / 2**0.5)) < 4 * float(up.error)


@pytest.mark.parametrize("bounds", [None, (0.0, 2.0)])
def test_an_energy_alone(bounds: tuple[float, float] | None) -> None:
    """Z = ∫ exp(−½ ‖(x − ½)/σ‖²) dx over the plane, or over a box."""
    sigma, size = 0.4, 8
    base = DataNoise((2, 4), bounds, scale=1.5)

    def energy(x: Tensor) -> Tensor:
        return 0.5 * ((x - 0.5) / sigma).flatten(1).square().sum(1)

    normal = torch.distributions.Normal(0.5, sigma)
    mass = 1.0 if bounds is None else float(normal.cdf(torch.tensor(2.0)) - normal.cdf(torch.tensor(0.0)))
    log_z = size * (math.log(sigma) + 0.5 * math.log(2 * math.pi) + math.log(mass))
    path = data_path(energy, base, torch.zeros(()))
    plan, n = tuned(path, sigmoidal(200), stream(0)), 500
    down = log_mean_exp(forward(path, plan, n, stream(1)).log_weight)
    assert abs(float(down.value) - log_z) < 4 * float(down.error)
    x = 0.5 + sigma * randn((20 * n, 2, 4), stream(2))
    if bounds is not None:  # each value on its own, so that exact samples are left
        flat = x.flatten()
        x = flat[(flat > bounds[0]) & (flat < bounds[1])][: n * size].view(n, 2, 4)
    starts = base.noise(x[:n])
    torch.testing.assert_close(base.data(starts), x[:n])
    up = log_mean_exp(reverse(path, plan, starts, stream(3)).log_weight)
    assert abs(float(up.value) + log_z) < 4 * float(up.error)
    assert float(down.error) < 0.1
    assert float(up.error) < 0.1


def test_any_base_that_can_be_sampled() -> None:
    """From U(0, 1) with its walls to exp(−3 x₁ + x₂): Z = (1 − e⁻³)/3 · (e − 1)."""

    def log_base(state: State) -> Tensor:
        inside = ((state["x"] > 0) & (state["x"] < 1)).all(1)
        return torch.where(inside, 0 * state["x"].sum(1), -math.inf)

    path = Path(
        log_base=log_base,
        log_ratio=lambda state: state["x"] @ torch.tensor([-3.0, 1.0]),
        sample_base=lambda n, rng: {"x": rand((n, 2), rng)},
    )
    plan, n = tuned(path, linear(10), stream(0)), 2000
    down = log_mean_exp(forward(path, plan, n, stream(1)).log_weight)
    log_z = math.log((1 - math.exp(-3)) / 3 * (math.e - 1))
    assert abs(float(down.value) - log_z) < 4 * float(down.error)
    u = rand((n, 2), stream(2))  # h by inversion of its distribution functions
    x = torch.stack([-(1 - u[:, 0] * (1 - math.exp(-3))).log() / 3, (1 + u[:, 1] * (math.e - 1)).log()], 1)
    found = reverse(path, plan, {"x": x}, stream(3))
    assert bool(((found.end["x"] > 0) & (found.end["x"] < 1)).all())
    up = log_mean_exp(found.log_weight)
    assert abs(float(up.value) + log_z) < 4 * float(up.error)
    assert float(up.error) < 0.05


def test_noise_of_data_on_their_bounds_is_finite() -> None:
    base = DataNoise((1,), (0.0, 1.0))
    noise = base.noise(torch.tensor([[0.0], [0.5], [1.0]]))
    assert bool(torch.isfinite(noise["x"]).all())
    torch.testing.assert_close(base.data(noise), torch.tensor([[0.0], [0.5], [1.0]]))


def test_the_clamp_is_part_of_the_energy() -> None:
    """E of x clamped to [−1, 1], against E[exp(−E(clamp(x)))] by quadrature of one dimension."""
    eye = torch.eye(2)
    path = latent_path(Affine(eye, torch.zeros(2)), lambda x: 2 * x.sum(1), eye, clamp=(-1.0, 1.0))
    x = torch.linspace(-9, 9, 200_001)
    density = torch.distributions.Normal(0.0, 1.0).log_prob(x) - 2 * x.clamp(-1, 1)
    exact = 2 * float(torch.logsumexp(density, 0) + math.log(18 / 200_000))
    found = log_mean_exp(forward(path, Plan(linear(4), [1.0] * 5, 2, 1), 4000, stream(0)).log_weight)
    assert abs(float(found.value) - exact) < 4 * float(found.error)
