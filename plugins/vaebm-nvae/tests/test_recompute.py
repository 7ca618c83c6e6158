"""Recomputing activations changes memory and time, and nothing else."""

from __future__ import annotations

import pytest
import torch

from vaebm_toolkit.core import latent_density, standard_normal, stream, value_and_grad

VARIANTS = [
    dict(scales=2),
    dict(cells="mbconv_res", se=False),
    dict(cells="res_elu", groups=1),
    dict(flows=1, pad=4),
]


@pytest.fixture
def pair(make):
    """The same network twice, the second with `recompute`."""

    def networks(**options):
        plain = make((3, 8, 8), **options)
        other = make((3, 8, 8), recompute=True, **options)
        other.load_state_dict(plain.state_dict())  # strict: the names are the same
        return plain, other

    return networks


def saved_bytes(run):
    """Bytes of distinct storages that autograd keeps while `run()` builds its graph."""
    held = {}

    def pack(x):
        held[x.untyped_storage()._cdata] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = run()
    return sum(held.values()), out


@pytest.mark.parametrize("options", VARIANTS)
def test_a_training_step_is_the_same(pair, options):
    """ELBO, gradients of all weights, and BatchNorm's statistics, which move once."""
    found = []
    for model in pair(**options):
        model.train()
        elbo = model.elbo(torch.rand(3, 3, 8, 8, generator=stream(0)), stream(1))
        (elbo.kl.sum() - elbo.log_px.sum()).backward()
        found.append(
            [
                elbo.kl,
                elbo.log_px,
                *(p.grad for p in model.parameters() if p.grad is not None),
                *model.buffers(),
            ]
        )
    assert len(found[0]) == len(found[1])
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(other, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("options", VARIANTS)
def test_a_chains_gradient_is_the_same(pair, options, frozen):
    found = []
    for model in pair(**options):
        generator = model.frozen() if frozen else model
        state = standard_normal(generator.groups, 3, stream(2))
        density = latent_density(generator, lambda x: x.pow(3).flatten(1).sum(1))
        value, gradient = value_and_grad(density, state)
        found.append([value, *gradient.values()])
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(other, plain, rtol=1e-12, atol=1e-12)


def test_second_derivatives_of_the_frozen_decoder(pair):
    found = []
    for model in pair():
        generator = model.frozen()
        eps = {k: v.requires_grad_() for k, v in standard_normal(generator.groups, 2, stream(3)).items()}
        (first,) = torch.autograd.grad(generator.decode(eps).x.pow(3).sum(), eps["z0"], create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), eps["z0"])[0])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_bf16_recomputes_in_bf16(pair):
    """The gradient of a recomputed cell is that of the precision of its first computation."""
    found = []
    for model in pair():
        model.float().train()
        with torch.autocast("cpu", torch.bfloat16):
            elbo = model.elbo(torch.rand(3, 3, 8, 8, generator=stream(0), dtype=torch.float32), stream(1))
        elbo.log_px.sum().backward()
        found.append(model.stem.weight.grad)
    assert torch.equal(*found)


@pytest.mark.parametrize("frozen", [True, False])
def test_less_is_kept(pair, frozen):
    """Of a cell its input alone."""
    kept = []
    for model in pair(cells_per_group_dec=2, groups=4):
        generator = model.frozen() if frozen else model.train()
        eps = {k: v.requires_grad_() for k, v in standard_normal(generator.groups, 8, stream(4)).items()}
        kept.append(saved_bytes(lambda g=generator, e=eps: g.decode(e).x)[0])
    assert kept[1] < 0.5 * kept[0]
