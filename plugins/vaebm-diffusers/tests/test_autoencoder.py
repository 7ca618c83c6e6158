"""AutoencoderKL as a generator: its map, its density and what is learned, in float64."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from vaebm_diffusers.options import AutoencoderOptions
from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import State, standard_normal, stream

pytest.importorskip("diffusers", reason="an optional dependency")

from vaebm_diffusers.autoencoder import KLAutoencoder
from vaebm_diffusers.build import build

SHAPE = (1, 4, 4)
SMALL = {"channels": (8, 8), "norm_groups": 4, "latent": 2}


def make(shape: tuple[int, ...] = SHAPE, **options: object) -> KLAutoencoder:
    """A network whose maps are far from their start, and whose prior is not N(0, 1)."""
    model = build(AutoencoderOptions(**{**SMALL, **options}), shape)
    rng = stream(0, "weights")
    with torch.no_grad():
        for p in model.network.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=rng))
        model.latent_mean.add_(0.3)
        model.latent_std.mul_(1.7)
    return model


def images(n: int, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=stream(seed, "images"))


def flat(state: State) -> Tensor:
    return torch.cat([v.flatten(1) for v in state.values()], 1)


def unflat(v: Tensor, model: KLAutoencoder) -> State:
    parts = v.split([math.prod(s) for s in model.groups.values()], 1)
    return {k: p.unflatten(1, s) for (k, s), p in zip(model.groups.items(), parts, strict=True)}


def test_the_groups_are_latents_and_data_noise():
    assert make((3, 8, 12), channels=(8, 8, 16)).groups == {"z0": (2, 2, 3), "x": (3, 8, 12)}


@pytest.mark.parametrize("learn_sigma", [True, False])
def test_log_determinant_is_autograds(learn_sigma):
    """log |d(z, x)/dε| of the whole map ε -> (z, x), 24 × 24."""
    model = make(sigma=0.2, learn_sigma=learn_sigma)
    eps = flat(standard_normal(model.groups, 2, stream(0)))
    _, log_det = model.decode(unflat(eps, model))
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(
            lambda v: flat(model.values(unflat(v[None], model)))[0], eps[i]
        )
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det[i], rtol=1e-10, atol=1e-10)


def test_gradient_in_the_noise_is_that_of_finite_differences():
    model, direction = make(), images(2, seed=3)
    eps = {k: v.requires_grad_() for k, v in standard_normal(model.groups, 2, stream(0)).items()}
    grads = torch.autograd.grad((direction * model.decode(eps).x).sum(), list(eps.values()))
    moves = standard_normal(model.groups, 2, stream(1))
    with torch.no_grad():
        ends = [model.decode({k: v + h * moves[k] for k, v in eps.items()}).x for h in (1e-5, -1e-5)]
    difference = (direction * (ends[0] - ends[1])).sum() / 2e-5
    along = sum((g * m).sum() for g, m in zip(grads, moves.values(), strict=True))
    torch.testing.assert_close(difference, along, rtol=1e-7, atol=1e-7)
    assert all(torch.isfinite(g).all() and g.any() for g in grads)


def test_what_is_encoded_is_decoded_again():
    model, x = make(), images(5)
    eps = model.encode(x, stream(0))
    torch.testing.assert_close(model.decode(eps).x, x, rtol=1e-10, atol=1e-10)
    assert {k: v.shape[1:] for k, v in eps.items()} == model.groups


def test_noise_is_the_inverse_of_values():
    model = make()
    eps = standard_normal(model.groups, 3, stream(0))
    back, log_det = model.noise(model.values(eps))
    for name in eps:
        torch.testing.assert_close(back[name], eps[name], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_det, model.decode(eps).log_det)
    assert torch.equal(model.mean(eps), model.mu(eps["z0"]))


def test_kl_is_that_of_the_two_gaussians_in_z():
    """KL(N(μ_q, σ_q²) ‖ N(m, s²)) by torch.distributions, on the latents as the network has them."""
    model, x = make(), images(4)
    q = model.network.encode(2 * x - 1).latent_dist
    prior = torch.distributions.Normal(
        model.latent_mean.expand_as(q.mean), model.latent_std.expand_as(q.mean)
    )
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(q.mean, q.std), prior)
    torch.testing.assert_close(model.elbo(x, stream(0)).kl[:, 0], expected.sum((1, 2, 3)))
    units = model.kl_units(x, stream(0))["z0"]
    torch.testing.assert_close(units, expected.sum((2, 3)).mean(0))


def test_elbo_is_below_the_importance_weighted_bound_and_the_mean_log_weight():
    model, x, draws = make(sigma=0.3), images(6), 400
    with torch.no_grad():
        found = model.elbo(x.repeat(draws, 1, 1, 1), stream(0))
        elbo = (found.log_px - found.kl.sum(1)).view(draws, 6)
        weight = model.log_weight(x.repeat(draws, 1, 1, 1), stream(1)).view(draws, 6)
    error = (elbo.var(0) / draws + weight.var(0) / draws).sqrt()
    assert ((elbo.mean(0) - weight.mean(0)).abs() < 4 * error).all()
    bound = weight.view(20, 20, 6).logsumexp(1) - math.log(20)
    gap = bound.mean(0) - elbo.mean(0)
    assert (gap > 2 * (bound.var(0) / 20 + elbo.var(0) / draws).sqrt()).all()


def test_weights_integrate_to_the_density_of_x():
    """log p(x) with one latent by quadrature over ε_z, within 4 standard errors of the mean weight."""
    model, x, draws = make((1, 2, 2), latent=1, sigma=0.3), images(3, (1, 2, 2)), 4000
    assert model.groups["z0"] == (1, 1, 1)
    model.latent_std.fill_(0.5)  # q(ε_z|x) is then wider than the prior, so that weights have a variance
    grid = torch.linspace(-8, 8, 2001)
    with torch.no_grad():
        means = model.mu(grid.view(-1, 1, 1, 1)).flatten(1)  # (2001, 4)
        log_joint = torch.distributions.Normal(means, 0.3).log_prob(x.flatten(1)[:, None]).sum(2)
        log_joint = log_joint + torch.distributions.Normal(0.0, 1.0).log_prob(grid)
        exact = torch.trapezoid(log_joint.exp(), grid, dim=1)
        weights = model.log_weight(x.repeat(draws, 1, 1, 1), stream(0)).view(draws, 3).exp()
    error = weights.std(0) / draws**0.5
    assert ((weights.mean(0) - exact).abs() < 4 * error).all()
    assert (error < 0.1 * exact).all()


def test_calibration_makes_the_latents_standard_and_sigma_the_residual():
    """Over x, space and q(z|x) each channel of ε_z has mean 0, variance 1; σ² is the mean square error."""
    model, x = make(calibrate=True), images(40)
    model.initialise(x)
    with torch.no_grad():
        mean, std = model.posterior(x)
        residual = (x - model.mu(mean)).square().mean()
    torch.testing.assert_close(mean.mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-12)
    second = (mean.square() + std.square()).mean((0, 2, 3))
    torch.testing.assert_close(second, torch.ones(2))
    torch.testing.assert_close(model.log_sigma.exp().square(), residual)


def test_without_calibration_nothing_is_taken_from_data():
    model = make()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.initialise(images(8))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_state_and_frozen_copies_give_the_same():
    first, second, eps = make(), make(sigma=0.7), standard_normal(make().groups, 3, stream(0))
    with torch.no_grad():
        first.log_sigma.add_(0.4)
    second.load_state_dict(first.state_dict())
    x = first.decode(eps).x
    assert torch.equal(second.decode(eps).x, x)
    assert torch.equal(first.frozen().decode(eps).x, x)
    assert not any(p.requires_grad for p in first.frozen().parameters())


def test_every_parameter_learns_from_the_elbo():
    model = make(attention=True)
    found = model.elbo(images(3), stream(0))
    (found.kl.sum(1) - found.log_px).mean().backward()
    # a key's bias adds the same to all scores of a query, which a softmax does not see
    none = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [k for k in none if not k.endswith("to_k.bias")] == []


def test_it_learns_images():
    """On 8 × 8 digits: the ELBO of held-out ones rises by more than 25 nats in 60 steps from σ = 0.5."""
    from vaebm_toolkit.registry import installed, load_factory

    digits = installed().find("dataset", "digits")
    data = load_factory(digits)(digits.component.options())
    train, test = (s.batch(torch.arange(200)).double() for s in (data.train, data.test))
    model = build(AutoencoderOptions(**SMALL, sigma=0.5), data.shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def elbo(x: Tensor, i: int) -> Tensor:
        found = model.elbo(x, stream(0, i))
        return (found.log_px - found.kl.sum(1)).mean()

    with torch.no_grad():
        before = elbo(test, 0)
    for i in range(60):
        optimizer.zero_grad()
        (-elbo(train[torch.randint(200, (32,), generator=stream(1, i))], i)).backward()
        optimizer.step()
    with torch.no_grad():
        assert elbo(test, 0) > before + 25
        assert model.log_sigma.exp() < 0.35


@pytest.mark.parametrize(
    ("options", "shape", "words"),
    [
        ({}, (5,), "--generator mlp"),
        ({}, (1, 6, 5), "2 times smaller, which 6×5 does not allow.\n.*6×6"),
        ({"channels": (8, 8, 8)}, (1, 30, 28), "4 times smaller.*\n.*multiples of 4: 32×28"),
        ({"channels": (8, 10)}, SHAPE, "4 groups do not divide 10 channels"),
        ({"channels": ()}, SHAPE, "one size at least"),
        ({"path": "nowhere"}, SHAPE, "generator.channels: the network in nowhere has its own"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(options, shape, words):
    with pytest.raises(RecipeError, match=words):
        make(shape, **options)


def test_it_can_be_built_without_values():
    with torch.device("meta"):
        model = build(AutoencoderOptions(), (3, 32, 32))
        eps = {k: torch.empty(2, *s) for k, s in model.groups.items()}
        assert model.decode(eps).x.shape == (2, 3, 32, 32)
    assert all(p.is_meta for p in model.parameters())


def test_diffusers_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.delitem(sys.modules, "vaebm_diffusers.autoencoder")
    with pytest.raises(RecipeError, match="pip install diffusers"):
        build(AutoencoderOptions(), SHAPE)


def test_listing_the_plugin_does_not_import_torch():
    code = (
        "import sys, vaebm_diffusers as p; list(p.vaebm_components()); "
        "sys.exit(bool({'torch', 'diffusers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
