"""The frozen decoder is the same map."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from vaebm_nvae.cells import ARCHS
from vaebm_nvae.folding import Affine, Convolution, Double, Swish, fold
from vaebm_toolkit.core import standard_normal, stream

VARIANTS = [
    dict(),
    dict(se=False),
    dict(cells="res_bnswish", scales=2),
    dict(scales=3, groups=2, ada_groups=True, preprocess_blocks=0, postprocess_blocks=0),
    dict(groups=1),
    dict(cells="res_bnswish", groups=1, channels_dec=8, cells_per_group_dec=2),
    dict(pad=4, prior="official"),
    *[dict(cells=name, channels=8 if name == "mbconv_den" else 4) for name in ARCHS],
]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def noise(model, n=3, dtype=None):
    return standard_normal(model.groups, n, stream(1), torch.zeros((), dtype=dtype))


def difference(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("method", ["decode", "official_log_joint"])
def test_same_values_and_gradients(make, method, options, dtype):
    model = make((3, 16, 24), **options).to(dtype)
    results = []
    for generator in (model.frozen(), model):
        eps = {k: v.requires_grad_() for k, v in noise(model, dtype=dtype).items()}
        x, log_density = getattr(generator, method)(eps)
        weights = torch.linspace(-1, 1, x[0].numel(), dtype=dtype).view(x.shape[1:])
        gradients = torch.autograd.grad((x * weights).sum() + log_density.sum(), list(eps.values()))
        results.append([x.detach(), log_density.detach(), *gradients])
    assert max(map(difference, *results)) < TOLERANCE[dtype]


@pytest.mark.parametrize("options", [dict(), dict(cells="res_bnswish"), dict(cells="res_elu")])
def test_second_derivatives(make, options):
    model = make(**options)
    found = []
    for generator in (model.frozen(), model):
        eps = {k: v.requires_grad_() for k, v in noise(model).items()}
        (gradient,) = torch.autograd.grad(
            generator.decode(eps).x.square().sum(), eps["z0"], create_graph=True
        )
        found.append(torch.autograd.grad(gradient.square().sum(), eps["z0"])[0])
    assert difference(*found) < 1e-10


def test_it_is_a_constant_of_its_own(make):
    """No gradients in weights; later training of the network does not reach it."""
    model = make().train()
    frozen = model.frozen()
    assert model.training
    assert not frozen.training
    assert not any(p.requires_grad for p in frozen.parameters())
    eps = noise(model)
    before = frozen.decode(eps).x
    with torch.no_grad():
        for value in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())):
            value.add_(1.0)
    assert torch.equal(frozen.decode(eps).x, before)


def test_it_keeps_the_decoder_only(make):
    model = make(scales=2)
    frozen = model.frozen()
    assert dict(frozen.groups) == dict(model.groups)
    encoder = ("stem.", "pre_process", "enc_")
    decoder = sum(p.numel() for name, p in model.named_parameters() if not name.startswith(encoder))
    assert sum(p.numel() for p in frozen.parameters()) < decoder
    assert not any(isinstance(m, nn.BatchNorm2d) for m in frozen.modules())


def test_it_can_be_copied_and_moved(make):
    frozen = make().frozen()
    eps = noise(frozen)
    x = frozen.decode(eps).x
    for twin in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert torch.equal(twin.decode(eps).x, x)
    single = frozen.to(torch.float32).decode({k: v.float() for k, v in eps.items()}).x
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), x, rtol=0, atol=1e-5)
    assert frozen.to("meta").decode({k: v.float().to("meta") for k, v in eps.items()}).x.is_meta


@pytest.mark.parametrize("options", [dict(), dict(cells="res_bnswish")])
def test_it_runs_in_bfloat16_with_a_float32_state(make, options):
    frozen = make(**options).float().frozen()
    eps = {k: v.requires_grad_() for k, v in noise(frozen, dtype=torch.float32).items()}
    with torch.autocast("cpu", torch.bfloat16):
        loss = frozen.decode(eps).x.float().square().sum()
    rough = torch.autograd.grad(loss, list(eps.values()))
    exact = torch.autograd.grad(frozen.decode(eps).x.square().sum(), list(eps.values()))
    assert all(a.dtype == torch.float32 and difference(a, b) < 0.1 for a, b in zip(rough, exact, strict=True))


@pytest.mark.parametrize("of", [lambda model: model, lambda model: model.frozen()])
def test_bfloat16_ends_before_the_convolution_that_makes_the_image(make, of):
    network = of(make().float())
    seen = []
    handle = network.image_conditional.register_forward_hook(lambda m, given, out: seen.append((*given, out)))
    with torch.autocast("cpu", torch.bfloat16):
        network.decode(noise(network, dtype=torch.float32))
    handle.remove()
    ((h, out),) = seen
    assert h.dtype == out.dtype == torch.float32
    assert torch.equal(out, network.image_conditional(h))


def test_an_inverted_bottleneck_becomes_three_convolutions(make):
    frozen = make().frozen()
    kinds = [
        [type(step) for step in cell.branch] for cell in frozen.layers if not isinstance(cell, Convolution)
    ]
    same = [Convolution, Swish, Convolution, Swish, Convolution]
    up = [Convolution, Swish, Double, Convolution, Swish, Convolution]
    assert kinds == [same, up, same]


def test_a_padded_convolution_keeps_the_affine_map_before_it():
    """Zeros of the padding are zeros after BatchNorm: folding a shift into it would change the border."""
    before = Affine(torch.rand(2), torch.rand(2))
    padded = Convolution(torch.randn(2, 2, 3, 3), torch.randn(2), padding=1)
    after = Affine(torch.rand(2), torch.rand(2))
    short = fold([before, padded, after])
    assert [type(step) for step in short] == [Affine, Convolution]
    x = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(short[1](short[0](x)), after(padded(before(x))))


def test_a_tempered_network_is_frozen_at_its_temperature(make):
    model = make(groups=3)
    tempered = model.tempered([0.5, 0.7, 0.9], 0.6)
    eps = noise(model)
    for twin in (tempered.frozen(), model.frozen().tempered([0.5, 0.7, 0.9], 0.6)):
        assert difference(twin.decode(eps).x, tempered.decode(eps).x) < 1e-10
