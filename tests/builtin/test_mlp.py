"""The built-in generator and energy for vectors and small images."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.builtin.mlp import (
    MLPAutoencoder,
    build_energy,
    build_generator,
    centred,
    gaussian_log_prob,
)
from vaebm_toolkit.builtin.networks import COMPONENTS, EnergyOptions, GeneratorOptions
from vaebm_toolkit.core import standard_normal, value_and_grad

SHAPES = [(2,), (3,), (1, 2, 2)]


def generator(shape: tuple[int, ...], **options: float) -> MLPAutoencoder:
    torch.manual_seed(6)
    return build_generator(GeneratorOptions(**{"width": 16, "depth": 2, "latent": 3, **options}), shape)


def data(n: int, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    x = torch.rand(n, *shape, generator=rng)
    return x if len(shape) == 3 else 8 * x - 4


@pytest.mark.parametrize("shape", SHAPES)
class TestGenerator:
    def test_groups_and_shapes(self, shape, rng):
        g = generator(shape)
        assert dict(g.groups) == {"z0": (3,), "x": shape}
        assert list(g.groups)[-1] == "x"
        decoded = g.decode(standard_normal(g.groups, 5, rng))
        assert decoded.x.shape == (5, *shape)
        assert decoded.log_det.shape == (5,)

    def test_log_det_is_that_of_the_jacobian(self, shape, rng):
        g = generator(shape)
        eps = standard_normal(g.groups, 1, rng)
        size = math.prod(shape)

        def flat(v: Tensor) -> Tensor:
            """ε ↦ (z, x)"""
            z, e = v[:3], v[3:].view(1, *shape)
            return torch.cat([z, g.decode({"z0": z[None], "x": e}).x.flatten()])

        jacobian = torch.autograd.functional.jacobian(flat, torch.cat([eps["z0"][0], eps["x"].flatten()]))
        assert jacobian.shape == (3 + size, 3 + size)
        logabsdet = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(g.decode(eps).log_det[0], logabsdet, rtol=0, atol=1e-10)

    def test_noise_undoes_values(self, shape, rng):
        """log p(z, x) = log N(ε; 0, I) − log |det| at any (z, x)."""
        g = generator(shape)
        eps = standard_normal(g.groups, 5, rng)
        back, log_det = g.noise(g.values(eps))
        for name, value in eps.items():
            torch.testing.assert_close(back[name], value, rtol=0, atol=1e-12)
        torch.testing.assert_close(log_det, g.decode(eps).log_det)
        values = standard_normal(g.groups, 5, rng)
        eps, log_det = g.noise(values)
        normal = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
        by_noise = sum(normal.log_prob(v).flatten(1).sum(1) for v in eps.values()) - log_det
        expected = normal.log_prob(values["z0"]).sum(1) + gaussian_log_prob(
            values["x"], *g.likelihood(values["z0"])
        )
        torch.testing.assert_close(by_noise, expected)

    def test_decode_undoes_encode(self, shape, rng):
        g, x = generator(shape), data(6, shape, rng)
        eps = g.encode(x, rng)
        assert {k: v.shape[1:] for k, v in eps.items()} == g.groups
        torch.testing.assert_close(g.decode(eps).x, x, rtol=0, atol=1e-12)

    def test_without_data_noise_the_decoder_gives_its_mean(self, shape, rng):
        g = generator(shape)
        eps = standard_normal(g.groups, 4, rng)
        mean, sigma = g.likelihood(eps["z0"])
        assert torch.equal(g.decode({**eps, "x": torch.zeros_like(eps["x"])}).x, mean)
        torch.testing.assert_close((g.decode(eps).x - mean) / sigma, eps["x"])

    def test_sigma_is_bounded_below(self, shape, rng):
        g = generator(shape, min_sigma=0.05)
        _, sigma = g.likelihood(100 * torch.randn(1000, 3, generator=rng))
        assert 0.05 <= sigma.min() < 0.06

    def test_kl_equals_its_monte_carlo_estimate(self, shape, rng):
        """KL = E_q[log q(z|x) − log N(z; 0, 1)], within 4 standard errors."""
        g, x, draws = generator(shape), data(4, shape, rng), 40_000
        mean, sigma = g.posterior(x)
        z = mean + sigma * torch.randn(draws, *mean.shape, generator=rng)
        q, prior = torch.distributions.Normal(mean, sigma), torch.distributions.Normal(0.0, 1.0)
        ratio = (q.log_prob(z) - prior.log_prob(z)).sum(2)
        kl = g.elbo(x, rng).kl
        assert kl.shape == (4, 1)
        assert ((ratio.mean(0) - kl[:, 0]).abs() < 4 * ratio.std(0) / draws**0.5).all()

    def test_log_px_is_a_normal_density(self, shape, rng):
        g, x = generator(shape), data(4, shape, rng)
        mean, sigma = g.likelihood(torch.randn(4, 3, generator=rng))
        expected = torch.distributions.Normal(mean, sigma).log_prob(x).flatten(1).sum(1)
        torch.testing.assert_close(gaussian_log_prob(x, mean, sigma), expected, rtol=1e-12, atol=1e-12)

    def test_elbo_is_the_mean_log_weight(self, shape, rng):
        """Both estimate E_q[log p(x, z) − log q(z|x)], within 4 standard errors."""
        g, x, draws = generator(shape), data(3, shape, rng).repeat(4000, *[1] * len(shape)), 4000
        elbo = g.elbo(x, rng)
        elbo = (elbo.log_px - elbo.kl.sum(1)).view(draws, 3)
        weight = g.log_weight(x, rng).view(draws, 3)
        standard_error = ((elbo.var(0) + weight.var(0)) / draws).sqrt()
        assert ((elbo.mean(0) - weight.mean(0)).abs() < 4 * standard_error).all()

    def test_elbo_is_below_the_importance_weighted_bound(self, shape, rng):
        """The bound grows with the number of samples (Burda et al., 2016)."""
        g, draws = generator(shape), 4096
        x = data(3, shape, rng).repeat(draws, *[1] * len(shape))
        weights = g.log_weight(x, rng).view(draws, 3)
        bounds = [weights.view(-1, k, 3).logsumexp(1).mean(0) - math.log(k) for k in (1, 16, 256)]
        assert (bounds[0] < bounds[1]).all()
        assert (bounds[1] < bounds[2]).all()

    def test_every_parameter_gets_a_gradient(self, shape, rng):
        g = generator(shape)
        elbo = g.elbo(data(8, shape, rng), rng)
        (elbo.kl.sum() - elbo.log_px.sum()).backward()
        assert [k for k, p in g.named_parameters() if p.grad is None or not p.grad.any()] == []

    def test_state_restores_it(self, shape, rng):
        one, two = generator(shape), build_generator(GeneratorOptions(width=16, depth=2, latent=3), shape)
        two.load_state_dict(one.state_dict())
        eps = standard_normal(one.groups, 2, rng)
        assert torch.equal(one.decode(eps).x, two.decode(eps).x)

    def test_energy(self, shape, rng):
        energy, x = build_energy(EnergyOptions(width=16, depth=2), shape), data(5, shape, rng)
        value, grad = value_and_grad(lambda state: -energy(state["x"]), {"x": x})
        assert value.shape == (5,)
        assert grad["x"].shape == x.shape
        alone = torch.cat([energy(x[i : i + 1]) for i in range(5)])
        torch.testing.assert_close(energy(x), alone, rtol=1e-12, atol=1e-13)

    def test_builds_on_the_meta_device(self, shape, rng):
        with torch.device("meta"):
            g, e = build_generator(GeneratorOptions(), shape), build_energy(EnergyOptions(), shape)
            x = g.decode({k: torch.empty(2, *s) for k, s in g.groups.items()}).x
            assert e(x).shape == (2,)


def test_the_marginal_integrates_the_joint(rng):
    """log p(x) of a 1-latent model by importance weights equals a numerical integral over z."""
    g = generator((1,), latent=1)
    x = torch.tensor([[0.3]])
    z = torch.linspace(-8, 8, 4001).view(-1, 1)
    mean, sigma = g.likelihood(z)
    log_joint = gaussian_log_prob(x.expand_as(z), mean, sigma) + gaussian_log_prob(z, 0 * z, 1 + 0 * z)
    exact = torch.logsumexp(log_joint, 0) + math.log(16 / 4000)
    weight = (g.log_weight(x.expand(4000, 1), rng) - exact).exp()
    assert abs(weight.mean().item() - 1) < 4 * weight.std().item() / 4000**0.5


@pytest.mark.parametrize(("shape", "latent"), [((2,), 2), ((1, 8, 8), 20)])
def test_latent_dimension_follows_the_data(shape, latent):
    assert build_generator(GeneratorOptions(), shape).groups["z0"] == (latent,)


def test_images_enter_between_minus_one_and_one():
    assert centred(torch.tensor([[[[0.0, 0.5, 1.0]]]])).tolist() == [[-1.0, 0.0, 1.0]]
    assert centred(torch.tensor([[0.0, 0.5, 4.0]])).tolist() == [[0.0, 0.5, 4.0]]


def gaussians25(n: int, rng: torch.Generator) -> Tensor:
    """25 Gaussians of standard deviation 0.1 on {−4, −2, 0, 2, 4}²."""
    return 2.0 * torch.randint(0, 5, (n, 2), generator=rng) - 4 + 0.1 * torch.randn(n, 2, generator=rng)


@pytest.mark.slow
def test_learns_25_gaussians_better_than_a_single_gaussian(rng):
    """1000 Adam steps with KL warm-up beat E[log N(x; 0, 8.01)] = −4.92 nats by 4 standard errors."""
    torch.set_default_dtype(torch.float32)
    g = generator((2,), width=64, depth=3, latent=2)
    optimizer = torch.optim.Adam(g.parameters(), lr=2e-3)
    for step in range(1000):
        elbo = g.elbo(gaussians25(128, rng), rng)
        loss = (max(0.05, min(1.0, step / 500)) * elbo.kl.sum(1) - elbo.log_px).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(g.parameters(), 5.0)
        optimizer.step()
    with torch.no_grad():
        x = gaussians25(2000, rng)
        log_px = torch.stack([g.log_weight(x, rng) for _ in range(100)]).logsumexp(0) - math.log(100)
    single = -math.log(2 * math.pi * 8.01) - 1
    assert log_px.mean() - 4 * log_px.std() / 2000**0.5 > single


def test_declared_components_are_built_by_their_factories():
    import importlib

    for component in COMPONENTS:
        module, name = component.factory.split(":")
        built = getattr(importlib.import_module(module), name)(component.options(), (2,))
        assert isinstance(built, torch.nn.Module)


def test_declaring_them_does_not_import_torch():
    code = "import sys, vaebm_toolkit.builtin.networks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
