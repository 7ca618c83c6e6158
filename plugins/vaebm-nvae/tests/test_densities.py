"""Claims about densities and maps, measured."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd.functional import jacobian

from vaebm_nvae.cells import ARCHS
from vaebm_nvae.distributions import Normal
from vaebm_nvae.heads import GaussianHead
from vaebm_toolkit.core import RowStreams, Tempered, square_norm, standard_normal, stream

VARIANTS = [
    dict(),
    dict(cells="res_bnswish", se=False, residual=False),
    dict(scales=2, ada_groups=True),
    dict(groups=1),
    dict(channels_dec=8, cells_per_group_dec=2),
    dict(preprocess_blocks=2, postprocess_blocks=2),
    dict(flows=2),
    dict(pad=4),
    dict(prior="official"),
    *[dict(cells=name, channels=8 if name == "mbconv_den" else 4) for name in ARCHS],
]
SHAPES = [(3, 8, 8), (1, 8, 16)]


def images(n, shape=(3, 8, 8)):
    return torch.rand(n, *shape, generator=stream(5))


@pytest.mark.parametrize("options", [dict(), dict(groups=1), dict(cells="res_bnswish", scales=1, groups=3)])
@pytest.mark.parametrize("colours", [1, 3])
def test_log_det_is_that_of_the_jacobian(make, options, colours):
    """log |d(z, x)/dε| against autograd, of (z_0, z_1, …, x) as a function of all of ε."""
    model = make((colours, 4, 4), **options)
    eps = standard_normal(model.groups, 1, stream(1))
    sizes = [v.numel() for v in eps.values()]

    def outputs(flat):
        state = {k: v.view(1, *model.groups[k]) for k, v in zip(eps, flat.split(sizes), strict=True)}
        head, priors = model.ancestral(state)
        z = [p.sample(state[f"z{g}"]) for g, p in enumerate(priors)]
        return torch.cat([v.flatten() for v in (*z, head.sample(state["x"]))])

    flat = torch.cat([v.flatten() for v in eps.values()])
    expected = torch.linalg.slogdet(jacobian(outputs, flat)).logabsdet
    torch.testing.assert_close(model.decode(eps).log_det[0], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_decode_undoes_encode(make, options, shape):
    model = make(shape, **options)
    x = images(2, shape)
    eps = model.encode(x, stream(0))
    assert {k: tuple(v.shape[1:]) for k, v in eps.items()} == dict(model.groups)
    torch.testing.assert_close(model.decode(eps).x, x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("frozen", [False, True])
def test_noise_undoes_values(make, options, frozen):
    """ε → (z, x) → ε, with the log-determinant of T there; z is what the priors draw."""
    model = make((3, 8, 8), **options)
    eps = standard_normal(model.groups, 2, stream(1))
    _, priors = model.ancestral(eps)
    used = model.frozen() if frozen else model
    values = used.values(eps)
    assert list(values) == list(model.groups)
    for g, p in enumerate(priors):
        torch.testing.assert_close(values[f"z{g}"], p.sample(eps[f"z{g}"]), rtol=0, atol=1e-10)
    back, log_det = used.noise(values)
    for name, value in eps.items():
        torch.testing.assert_close(back[name], value, rtol=0, atol=1e-9)
    torch.testing.assert_close(log_det, model.decode(eps).log_det, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("options", VARIANTS)
def test_kl_is_the_mean_log_ratio(make, options):
    """E_q[log q(z | x) − log p(z)] by Monte Carlo, paired with the closed form along the same samples."""
    model, n = make((1, 8, 8), latent=1, **options), 400
    x = images(1, (1, 8, 8)).expand(n, -1, -1, -1)
    with torch.no_grad():
        bound, log_weight = model.elbo(x, stream(2)), model.log_weight(x, stream(2))
    excess = bound.kl.sum(1) - (bound.log_px - log_weight)
    assert abs(excess.mean()) < 4 * excess.std() / n**0.5


def test_kl_of_two_normals():
    raw = torch.randn(2, 1, 8, 1, 1)
    q, p = (Normal.from_raw(r) for r in raw)
    eps = torch.randn(40_000, 4, 1, 1)
    ratio = q.log_prob(q.sample(eps)) - p.log_prob(q.sample(eps))
    assert abs(ratio.mean() - q.kl(p)[0].sum()) < 4 * ratio.std() / len(ratio) ** 0.5


def test_importance_weights_tighten_the_bound(make):
    model, n = make(), 400
    x = images(1).expand(n, -1, -1, -1)
    with torch.no_grad():
        bound = model.elbo(x, stream(1))
        log_weight = model.log_weight(x, stream(2))
    elbo = bound.log_px - bound.kl.sum(1)
    importance = torch.logsumexp(log_weight, 0) - math.log(n)
    assert elbo.mean() < importance + 4 * elbo.std() / n**0.5
    assert log_weight.mean() < importance


def test_scales_are_bounded():
    """σ = exp(5 tanh(s / 5)) + 0.01, and s = 0 means 1.01."""
    raw = torch.tensor([0.0, 1e4, -1e4, 0.0, 1e4, -1e4]).view(1, 6, 1, 1)
    normal = Normal.from_raw(raw)
    expected = torch.tensor([1.01, math.exp(5) + 0.01, math.exp(-5) + 0.01])
    torch.testing.assert_close(normal.sigma.flatten(), expected)
    torch.testing.assert_close(normal.mu.flatten(), torch.tensor([0.0, 5.0, -5.0]))
    torch.testing.assert_close(Normal.from_raw(raw, 0.7).sigma, 0.7 * normal.sigma)


def test_the_official_density_differs_by_the_log_determinant(make):
    """log p(x, z) = −½‖ε‖² − Σ log σ + const where nothing is clamped or floored."""
    model = make()
    with torch.no_grad():
        model.image_conditional[1].log_weight_norm.fill_(-5.0)  # x close to ½ ± ½ ε
        eps = standard_normal(model.groups, 3, stream(1))
        eps["x"] *= 0.2
        x, log_joint = model.official_log_joint(eps)
        decoded = model.decode(eps)
    assert torch.equal(x, decoded.x)
    size = sum(v[0].numel() for v in eps.values())
    in_unit_range = decoded.log_det + math.log(2) * x[0].numel()
    expected = -0.5 * square_norm(eps) - in_unit_range - 0.5 * size * math.log(2 * math.pi)
    torch.testing.assert_close(log_joint, expected)


def test_the_official_density_floors_scales_and_clamps_images():
    raw = torch.zeros(1, 2, 1, 2)
    raw[:, 1] = -1e4  # σ = exp(−5) + 0.01, floored to exp(−2) + 0.01
    raw[:, 0, 0, 1] = 3.0
    eps = torch.tensor([[[[2.0, 0.0]]]], requires_grad=True)
    head = GaussianHead(raw)
    x, log_px = head.official(eps, (0.0, 1.0))
    drawn = (math.exp(-5) + 0.01) * 2.0
    torch.testing.assert_close(x.flatten(), torch.tensor([drawn / 2 + 0.5, 1.0]))
    sigma, mean = math.exp(-2) + 0.01, 5 * math.tanh(0.6)
    y = torch.tensor([drawn, 1.0]) - torch.tensor([0.0, mean])
    expected = (-0.5 * (y / sigma) ** 2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)).sum()
    torch.testing.assert_close(log_px[0], expected)
    (gradient,) = torch.autograd.grad(x.sum() + log_px.sum(), eps)
    assert gradient[0, 0, 0, 1] == 0  # a saturated pixel feels nothing
    assert gradient[0, 0, 0, 0] != 0


def test_bounds_are_densities_in_minus_one_to_one():
    """Not of x ∈ [0, 1]: that would be log 2 per value larger."""
    head = GaussianHead(torch.zeros(1, 2, 4, 4))
    expected = -16 * (math.log(1.01) + 0.5 * math.log(2 * math.pi))
    torch.testing.assert_close(head.log_prob(torch.full((1, 1, 4, 4), 0.5))[0], torch.tensor(expected))


def test_results_follow_from_the_stream(make):
    model, x = make(), images(3)
    assert torch.equal(model.elbo(x, stream(0)).kl, model.elbo(x, stream(0)).kl)
    assert not torch.equal(model.elbo(x, stream(0)).kl, model.elbo(x, stream(1)).kl)
    eps, again = model.encode(x, stream(0)), model.encode(x, stream(0))
    assert all(torch.equal(eps[k], again[k]) for k in eps)


def test_rows_do_not_depend_on_the_batch(make):
    model, x = make(), images(3)
    together = model.log_weight(x, RowStreams([stream(7, row) for row in range(3)]))
    alone = model.log_weight(x[2:], RowStreams([stream(7, 2)]))
    torch.testing.assert_close(together[2:], alone)


@pytest.mark.parametrize("options", VARIANTS)
def test_every_parameter_learns(make, options):
    model = make(**options).train()
    bound = model.elbo(images(4), stream(0))
    (bound.kl.sum(1) - bound.log_px).mean().backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None}
    assert idle == ({"prior_ftr0"} if options.get("groups") == 1 else set())


def test_recalibration_moves_the_decoders_statistics_only(make):
    model = make(scales=2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.recalibrate(3, 4, stream(0))
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    statistics = {k for k in before if k.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert changed == {k for k in statistics if k.startswith(("dec_tower", "post_process"))}
    assert not model.training


def test_recalibration_settles_at_the_statistics_of_samples(make):
    """Afterwards the first BatchNorm of the decoder stores what samples have on average."""
    model = make((1, 4, 4))
    norm = model.dec_tower[1]._ops[0].conv[0].bn
    model.recalibrate(100, 16, stream(2))
    seen = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.decode(standard_normal(model.groups, 500, stream(3)))
    samples = seen[0].transpose(0, 1).flatten(1)
    spread = samples.std(1)
    # The moving average remembers about 600 samples; with 500 drawn here, 1/300 ≈ 1/600 + 1/500. Four s.e.
    assert ((norm.running_mean - samples.mean(1)).abs() < 4 / 300**0.5 * spread).all()
    assert ((norm.running_var - spread**2).abs() < 4 * (2 / 300) ** 0.5 * spread**2).all()


def test_the_first_groups_prior_is_standard_or_as_released(make):
    for prior, sigma in (("exact", 1.0), ("official", 1.01)):
        model = make(prior=prior)
        _, priors = model.ancestral(standard_normal(model.groups, 1, stream(1)))
        assert torch.equal(priors[0].sigma, torch.full_like(priors[0].sigma, sigma))
        assert torch.equal(priors[0].mu, torch.zeros_like(priors[0].mu))
        cool = model.tempered([0.7], 1.0)
        _, priors = cool.ancestral(standard_normal(model.groups, 1, stream(1)))
        torch.testing.assert_close(priors[0].sigma, torch.full_like(priors[0].sigma, 0.7 * sigma))


def test_temperatures_scale_the_noise_group_by_group(make):
    """σ_g · t_g with ε is σ_g with t_g ε; NVAE's own way equals that of any generator (`core.Tempered`)."""
    model, latent, head = make(groups=3), [0.5, 0.8, 1.2], 0.7
    eps = standard_normal(model.groups, 2, stream(1))
    own, general = model.tempered(latent, head), Tempered(model, latent, head)
    found, expected = own.decode(eps), general.decode(eps)
    torch.testing.assert_close(found.x, expected.x)
    torch.testing.assert_close(found.log_det, expected.log_det)
    torch.testing.assert_close(own.mean(eps), general.mean(eps))
    assert not torch.allclose(found.x, model.decode(eps).x)
    assert model.temperatures == ()


def test_padding_is_inside_the_network(make):
    """28 + 2·2: the network is that of padded images, its likelihood counts the image's own pixels."""
    inner, outer = make((1, 12, 12), pad=2), make((1, 16, 16))
    inner.load_state_dict(outer.state_dict())
    x = images(2, (1, 12, 12))
    padded = torch.nn.functional.pad(x, [2] * 4)
    found, whole = inner.infer(x, stream(1)), outer.infer(padded, stream(1))
    torch.testing.assert_close(found.head.mu, whole.head.mu[:, :, 2:-2, 2:-2])
    torch.testing.assert_close(found.values, whole.values)
    border = whole.head.normal.log_density(2 * padded - 1)
    border[:, :, 2:-2, 2:-2] = 0
    expected = whole.head.log_prob(padded) - border.flatten(1).sum(1)
    torch.testing.assert_close(found.head.log_prob(x), expected)


def test_bits_are_nvaes_formula(make):
    """floor(255 x / 2^(8 − b)) / (2^b − 1); once quantised, an image stays as it is."""
    x = torch.arange(256) / 255
    for bits in (5, 6, 7, 8):
        model = make(bits=bits)
        once = model.quantised(x)
        if bits < 8:
            levels = torch.arange(256) >> (8 - bits)
            torch.testing.assert_close(once, levels / (2**bits - 1))
        assert torch.equal(model.quantised(once), once)
    coarse, fine = make(bits=5), make()
    coarse.load_state_dict(fine.state_dict())
    image = images(2)
    torch.testing.assert_close(coarse.elbo(image, stream(0)), fine.elbo(coarse.quantised(image), stream(0)))


def test_kl_per_unit_adds_up_to_the_kl_per_group(make):
    for options in (dict(), dict(flows=1)):
        model, x = make(**options), images(4)
        units = model.kl_units(x, stream(3))
        assert {name: len(v) for name, v in units.items()} == {"z0": 2, "z1": 2}
        total = torch.stack([units["z0"].sum(), units["z1"].sum()])
        torch.testing.assert_close(total, model.elbo(x, stream(3)).kl.mean(0))


def test_reconstructions_and_interpolations(make):
    model, (a, b) = make(), images(2).chunk(2)
    path = model.interpolate(a, b, 5, stream(1))
    assert path.shape == (1, 5, 3, 8, 8)
    rng = stream(1)
    torch.testing.assert_close(path[:, 0], model.reconstruct(a, rng))
    torch.testing.assert_close(path[:, -1], model.reconstruct(b, rng))


def test_data_dependent_initialisation_of_elu_cells(make):
    """Every convolution of a `res_elu` op then gives mean 0, std 0.2 per channel; others are left."""
    model, x = make((3, 16, 16), cells="res_elu"), images(8, (3, 16, 16))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.initialise(x)
    after = model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == {k for k in before if "_ops" in k and k.endswith(("conv_0.bias", "log_weight_norm"))}
    seen = []
    first = model.pre_process[0]._ops[0].conv_0
    first.register_forward_hook(lambda _, inputs, output: seen.append(output))
    model.infer(x, stream(0))
    flat = seen[0].transpose(0, 1).flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(4), rtol=0, atol=1e-9)
    torch.testing.assert_close(flat.std(1), torch.full((4,), 0.2), rtol=1e-3, atol=0)
    plain = make()
    stored = {k: v.clone() for k, v in plain.state_dict().items()}
    plain.initialise(images(2))
    assert all(torch.equal(v, stored[k]) for k, v in plain.state_dict().items())
