"""Claims about the image's distribution: masses, samples, and noise that gives an image back."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from vaebm_nvae.heads import BernoulliHead, GaussianHead
from vaebm_nvae.likelihood import HeadSettings
from vaebm_nvae.logistics import DiscretisedLogistic, LogisticMixture
from vaebm_nvae.network import build
from vaebm_nvae.options import NVAEOptions
from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import standard_normal, stream

DISCRETE = ["bernoulli", "logistic", "logistic-mixture"]


def grid(bits):
    return torch.arange(2**bits) / (2**bits - 1)


def images(n, shape, bits=8):
    return torch.randint(2**bits, (n, *shape), generator=stream(3)) / (2**bits - 1)


@pytest.mark.parametrize("bits", [5, 8])
@pytest.mark.parametrize("scale", [-7.0, -3.0, 0.0])
@pytest.mark.parametrize("mean", [-1.2, -0.31, 0.97])
def test_masses_of_a_discretised_logistic_add_up_to_one(bits, scale, mean):
    centre, log_scale = torch.tensor(mean), torch.tensor(scale)
    head = DiscretisedLogistic(centre, log_scale, bits, official=False)
    total = head.log_mass(2 * grid(bits) - 1).exp().sum()
    # where the difference of the two cdf values underflows, a density stands in for it
    assert abs(total - 1) < (1e-3 if scale > -7 else 0.2)


def test_the_released_edge_counts_the_last_but_one_value_twice():
    """With 8 bits 254/255 is 0.992 > 0.99 in [−1, 1]: it gets the tail beyond it as well."""
    centre, log_scale = torch.tensor(0.9), torch.tensor(-3.0)
    y = 2 * grid(8) - 1
    exact, official = (
        DiscretisedLogistic(centre, log_scale, 8, official=o).log_mass(y).exp() for o in (False, True)
    )
    torch.testing.assert_close(official[:254], exact[:254])
    torch.testing.assert_close(official.sum() - 1, exact[255], rtol=1e-4, atol=0)


def mixture(colours=3, mixtures=2, bits=5, official=False, temperature=1.0, n=1, seed=0):
    settings = HeadSettings(NVAEOptions(head="logistic-mixture", mixtures=mixtures), colours)
    raw = torch.randn(1, settings.channels, 1, 1, generator=stream(seed)).expand(n, -1, -1, -1)
    raw = raw.clone()
    raw[:, mixtures:].view(n, colours, -1, mixtures, 1, 1)[:, :, 1] -= 2.0  # narrower
    return LogisticMixture(raw, colours, mixtures, bits, official, temperature)


def test_masses_of_a_mixture_add_up_to_one_over_all_colours():
    head = mixture(bits=5)
    values = grid(5)
    coarse = torch.tensor(list(itertools.product(range(32), repeat=3)))
    x = values[coarse].view(-1, 3, 1, 1)
    joint = head.log_joint(2 * x - 1)
    assert abs(torch.logsumexp(joint, 1).exp().sum() - 1) < 2e-3


def test_samples_of_a_mixture_follow_its_masses():
    """Frequencies of (component-free) red and blue values against their exact masses, 4 s.e."""
    n, head_of = 40_000, mixture
    eps = torch.randn(n, 5, 1, 1, generator=stream(4))
    x = head_of(n=n).sample(eps)
    single = head_of()
    coarse = torch.tensor(list(itertools.product(range(32), repeat=3)))
    every = grid(5)[coarse].view(-1, 3, 1, 1)
    mass = torch.logsumexp(single.log_joint(2 * every - 1), 1).exp().flatten()
    levels = torch.round(x * 31).long()[:, :, 0, 0]
    torch.testing.assert_close(x[:, :, 0, 0], grid(5)[levels])
    for colour in range(3):
        expected = torch.zeros(32).index_add(0, coarse[:, colour], mass)
        found = torch.bincount(levels[:, colour], minlength=32) / n
        error = (expected * (1 - expected) / n).sqrt() + 1 / n
        assert ((found - expected).abs() < 4.5 * error).all()


def test_the_exact_mean_of_a_mixture_is_the_mean_of_its_components():
    """E[G] = Σ π_m (μ_G + c₀ μ_R), where the released code multiplies averages."""
    exact, official = mixture(seed=5), mixture(seed=5, official=True)
    pi = torch.softmax(exact.logits, 1)[0, :, 0, 0]
    m, c = exact.means[0, :, :, 0, 0], exact.coefficients[0, :, :, 0, 0]
    red = (pi * m[0]).sum()
    green = (pi * (m[1] + c[0] * m[0])).sum()
    expected = torch.stack([red, green]).clamp(-1, 1) / 2 + 0.5
    torch.testing.assert_close(exact.mean()[0, :2, 0, 0], expected)
    averaged = ((pi * m[1]).sum() + (pi * c[0]).sum() * red.clamp(-1, 1)).clamp(-1, 1) / 2 + 0.5
    torch.testing.assert_close(official.mean()[0, 1, 0, 0], averaged)


@pytest.mark.parametrize("official", [False, True])
def test_the_temperature_of_logistic_noise(official):
    """exact: the spread shrinks with t; official: it grows, as released."""
    eps = torch.randn(20_000, 1, 1, 1, generator=stream(1))
    wide, low = (
        DiscretisedLogistic(torch.zeros(1), torch.full((1,), -4.0), 8, official, t).sample(eps).std()
        for t in (1.0, 0.5)
    )
    torch.testing.assert_close(low / wide, torch.tensor(2.0 if official else 0.5), rtol=0.05, atol=0)


def test_bernoulli_frequencies_and_temperature():
    logits = torch.linspace(-3, 3, 7).view(1, 1, 1, 7).expand(20_000, -1, -1, -1)
    eps = torch.randn(logits.shape, generator=stream(2))
    for t in (1.0, 0.5):
        p = torch.sigmoid(logits[0] / t)
        found = BernoulliHead(logits, t).sample(eps).mean(0)
        assert ((found - p).abs() < 4 * (p * (1 - p) / 20_000).sqrt()).all()
        torch.testing.assert_close(BernoulliHead(logits, t).mean()[0], p)


def test_bernoulli_log_prob_is_the_binary_cross_entropy():
    logits, x = torch.randn(3, 1, 4, 4), torch.randint(2, (3, 1, 4, 4)).double()
    p = torch.sigmoid(logits)
    expected = (x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)
    torch.testing.assert_close(BernoulliHead(logits).log_prob(x), expected)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("colours", [1, 3])
def test_encoded_noise_gives_the_image_back(make, name, colours):
    """decode(encode(x)) = x, also where x is discrete, but for tails beyond 1e-5."""
    bits = 5
    model = make((colours, 8, 8), head=name, mixtures=3, bits=bits)
    with torch.no_grad():  # a wide likelihood, so that no value lies in the cut-off tails
        model.image_conditional[1].log_weight_norm.fill_(-3.0)
        x = images(4, (colours, 8, 8), 1 if name == "bernoulli" else bits)
        eps = model.encode(x, stream(1))
        assert {k: tuple(v.shape[1:]) for k, v in eps.items()} == dict(model.groups)
        back = model.decode(eps).x
    assert (back - x).abs().max() < 1e-6


@pytest.mark.parametrize("name", DISCRETE)
def test_noise_given_an_image_is_distributed_as_noise(name):
    """ε → x → ε' has the law of ε again: mean 0, variance 1, whatever the head (4 s.e.)."""
    n, settings = 20_000, HeadSettings(NVAEOptions(head=name, mixtures=3, bits=5), 3)
    raw = 0.3 * torch.randn(1, settings.channels, 1, 1, generator=stream(7)).expand(n, -1, -1, -1)
    head = settings(raw)
    eps = torch.randn(n, settings.noise_channels, 1, 1, generator=stream(8))
    again = head.noise(head.sample(eps), stream(9))
    assert (again.mean(0).abs() < 4 / n**0.5).all()
    assert ((again.var(0) - 1).abs() < 4 * (2 / n) ** 0.5).all()


@pytest.mark.parametrize("name", ["gaussian", *DISCRETE])
def test_shapes_of_channels(name):
    """As published for colour images: 6 for the Gaussian, 10 per component of the mixture."""
    settings = HeadSettings(NVAEOptions(head=name, mixtures=4), 3)
    assert settings.channels == {"gaussian": 6, "logistic": 6, "bernoulli": 3, "logistic-mixture": 40}[name]


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("frozen", [False, True])
def test_discrete_heads_sample_but_are_refused_for_chains(make, name, frozen):
    model = make((3, 8, 8), head=name, mixtures=2)
    model = model.frozen() if frozen else model
    eps = standard_normal(model.groups, 2, stream(1))
    x, log_det = model.decode(eps)
    assert x.shape == (2, 3, 8, 8)
    assert log_det is None
    assert ((x >= 0) & (x <= 1)).all()
    for refused in (model.check_reparametrised, lambda: model.official_log_joint(eps)):
        with pytest.raises(RecipeError, match="not a differentiable function") as error:
            refused()
        assert "--generator.head gaussian" in error.value.fix


def test_the_gaussian_head_at_a_temperature():
    raw, eps = torch.randn(2, 6, 4, 4), torch.randn(2, 3, 4, 4)
    warm, cool = GaussianHead(raw), GaussianHead(raw, 0.5)
    torch.testing.assert_close(cool.sample(eps) - cool.mean(), 0.5 * (warm.sample(eps) - warm.mean()))
    torch.testing.assert_close(warm.log_det() - cool.log_det(), torch.full((2,), 48 * math.log(2)))


def test_bernoulli_data_are_binary(make):
    model = make((1, 8, 8), head="bernoulli")
    model.check_data(torch.tensor([0.0, 1.0]))
    with pytest.raises(RecipeError, match="binary images") as error:
        model.check_data(torch.tensor([0.0, 0.5]))
    assert "--dataset.binarise true" in error.value.fix


@pytest.mark.parametrize(
    ("shape", "options", "names"),
    [
        ((4, 8, 8), dict(head="logistic-mixture"), "--generator.head logistic"),
        ((3, 8, 8), dict(cells="mbconv_den", channels=12), "--generator.channels 8"),
        ((1, 28, 28), dict(scales=3, preprocess_blocks=2, postprocess_blocks=2), "--generator.pad"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(shape, options, names):
    with pytest.raises(RecipeError) as error:
        build(NVAEOptions(**{"channels": 4, "groups": 1, **options}), shape)
    assert names in error.value.fix
