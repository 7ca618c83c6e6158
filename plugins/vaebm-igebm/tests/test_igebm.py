"""IGEBM's energy network: its sizes, its formula, its classes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vaebm_igebm.igebm import IGEBMEnergy, build
from vaebm_igebm.options import LAYOUTS, IGEBMOptions
from vaebm_igebm.spectral_norm import SpectralNormConv2d
from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import buffers_restored, frozen

SHAPE = (3, 8, 16)


def small(shape: tuple[int, ...] = SHAPE, **options: object) -> IGEBMEnergy:
    """With second convolutions that count; they start at 1e-10."""
    energy = build(IGEBMOptions(**{"width": 4, **options}), shape).eval()
    with torch.no_grad():
        for i, block in enumerate(energy.blocks):
            block.conv2.weight_orig.normal_(std=0.02 * (1 + 10 * (i % 2)))
        for name, p in energy.named_parameters():
            if name.endswith("bias") or "class_embed" in name:
                p.add_(0.3 * torch.randn_like(p))
    return energy


def images(n: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("classes", "channels", "count"),
    [(None, 3, 5_134_593), (10, 3, 5_183_233), (None, 1, 5_132_289), (10, 1, 5_180_929)],
)
def test_parameter_counts(classes, channels, count):
    with torch.device("meta"):
        energy = build(IGEBMOptions(classes=classes), (channels, 32, 32))
        assert energy(torch.empty(2, channels, 32, 32)).shape == (2,)
    assert sum(p.numel() for p in energy.parameters()) == count


@pytest.mark.parametrize("classes", [None, 5])
def test_names_are_those_of_released_checkpoints(classes):
    """All but the derived buffers `weight`; convolutions of blocks have no bias where there are classes."""
    state = small(classes=classes).state_dict()
    conv = {"weight_orig", "weight_u"}
    bias = set() if classes else {"bias"}
    expected = {f"conv1.{k}" for k in conv | {"bias"}} | {"linear.weight", "linear.bias"}
    for i in range(6):
        expected |= {f"blocks.{i}.conv{j}.{k}" for j in (1, 2) for k in conv | bias}
        expected |= {f"blocks.{i}.class_embed.weight"} if classes else set()
    expected |= {f"blocks.{i}.skip.0.{k}" for i in (0, 2, 4) for k in conv}
    assert set(state) == expected
    assert state["blocks.2.conv1.weight_orig"].shape == (8, 4, 3, 3)
    assert state["blocks.2.conv1.weight_u"].shape == (8,)
    if classes:
        assert state["blocks.2.class_embed.weight"].shape == (5, 4 * 8)


def test_initial_values():
    energy = build(IGEBMOptions(width=16, classes=3), (3, 32, 32))
    for name, module in energy.named_modules():
        if isinstance(module, SpectralNormConv2d):
            std = 1e-10 if name.endswith("conv2") else 1.0
            assert module.weight_orig.std().item() == pytest.approx(std, rel=0.25), name
            assert module.bias is None or not module.bias.any()
    for block in energy.blocks:
        w1, w2, b1, b2 = block.class_embed.weight.chunk(4, 1)
        assert (w1 == 1).all()
        assert (w2 == 1).all()
        assert not b1.any()
        assert not b2.any()


def test_a_new_network_is_its_skips_alone():
    """The bounded second convolutions start at 1e-10: a block passes on little but its skip."""
    energy = build(IGEBMOptions(width=4), SHAPE).eval()
    h = torch.rand(2, 4, 8, 16)
    skip = F.leaky_relu(F.avg_pool2d(energy.blocks[0].skip(h), 2), 0.2)
    torch.testing.assert_close(energy.blocks[0](h), skip, rtol=0, atol=1e-6)


def formula(energy: IGEBMEnergy, x: Tensor, label: int | None = None, bound: str = "second") -> Tensor:
    """The network written out with plain functions, one power iteration by hand."""
    p = energy.state_dict()

    def conv(name: str, h: Tensor, padding: int, bounded: bool) -> Tensor:
        w = p[f"{name}.weight_orig"].flatten(1)
        v = w.T @ p[f"{name}.weight_u"]
        v = v / v.norm()
        u = w @ v / (w @ v).norm()
        sigma = u @ w @ v
        w = p[f"{name}.weight_orig"]
        w = w / (sigma + 1e-6) * min(float(sigma), 1.0) if bounded else w / sigma
        return F.conv2d(h, w, p.get(f"{name}.bias"), padding=padding)

    def act(h: Tensor) -> Tensor:
        return torch.where(h > 0, h, 0.2 * h)

    every = bound == "all"
    h = act(conv("conv1", x, 1, every))
    for i, block in enumerate(LAYOUTS["cifar10"]):
        w1, w2, b1, b2 = torch.tensor([1.0, 1.0, 0.0, 0.0])
        if label is not None:
            w1, w2, b1, b2 = p[f"blocks.{i}.class_embed.weight"][label].view(4, 1, -1, 1, 1)
        r = act(w1 * conv(f"blocks.{i}.conv1", h, 1, every) + b1)
        r = w2 * conv(f"blocks.{i}.conv2", r, 1, bound != "none") + b2
        changes = block.down or block.inputs != block.outputs
        r = r + (conv(f"blocks.{i}.skip.0", h, 0, every) if changes else h)
        h = act(r.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5)) if block.down else r)
    return (h.clamp(min=0).sum((2, 3)) @ p["linear.weight"].T + p["linear.bias"]).squeeze(1)


@pytest.mark.parametrize("bound", ["second", "all", "none"])
def test_energy_is_the_formula(bound):
    energy, x = small(bound=bound), images(2)
    torch.testing.assert_close(energy(x), formula(energy, x, bound=bound), rtol=1e-12, atol=1e-12)


def test_conditional_energy_is_the_formula():
    energy, x = small(classes=3), images(4)
    found = energy(x, torch.tensor([2, 0, 1, 2]))
    expected = torch.cat([formula(energy, x[i : i + 1], y) for i, y in enumerate([2, 0, 1, 2])])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_without_a_label_the_energy_is_the_marginals():
    """p(x) = Σ_y p(y) exp(−E(x|y)) with p(y) = 1/3: E(x) = −log mean_y exp(−E(x|y)), also its gradient."""
    energy, x = small(classes=3), images(4).requires_grad_()
    by_class = torch.stack([energy(x, torch.full((4,), y)) for y in range(3)])
    marginal = -by_class.neg().exp().mean(0).log()
    torch.testing.assert_close(energy(x), marginal, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(e.sum(), x)[0] for e in (energy(x), marginal)]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-12)
    assert (by_class.amax(0) > by_class.amin(0)).all()


def test_equal_classes_have_the_marginal_of_each():
    energy, x = small(classes=7), images(2)
    with torch.no_grad():
        for block in energy.blocks:
            block.class_embed.weight.copy_(block.class_embed.weight[:1].expand(7, -1))
    torch.testing.assert_close(energy(x), energy(x, torch.tensor([4, 4])), rtol=1e-12, atol=1e-12)


def test_a_label_chooses_the_conditional_energy():
    both, x = small(classes=3), images(4)
    chosen = small(classes=3, label=2)
    chosen.load_state_dict(both.state_dict())
    assert torch.equal(chosen(x), both(x, torch.full((4,), 2)))


@pytest.mark.parametrize("classes", [None, 3])
def test_energies_of_images_do_not_depend_on_each_other(classes):
    energy, x = small(classes=classes), images(4)
    one_by_one = torch.cat([energy(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(energy(x), one_by_one, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("classes", [None, 3])
def test_every_parameter_gets_a_gradient(classes):
    energy = small(classes=classes).train()
    energy(images(3)).square().sum().backward()
    assert [k for k, p in energy.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_held_weights_change_neither_energy_nor_input_gradient():
    energy, x = small(), images(2).requires_grad_()
    free = energy(x)
    (slope,) = torch.autograd.grad(free.sum(), x)
    with frozen(energy):
        held = energy(x)
        (held_slope,) = torch.autograd.grad(held.sum(), x)
    assert torch.equal(free, held)
    assert torch.equal(slope, held_slope)


def test_in_training_only_the_density_of_a_chain_is_fixed():
    energy, x = small(), images(2)
    assert torch.equal(energy(x), energy(x))
    energy.train()
    assert not torch.equal(energy(x), energy(x))


def test_advancing_always_every_call_moves_the_energy_towards_the_singular_values():
    """As released: the first call is the same, later ones differ, and they converge."""
    energy, x = small(advance="always"), images(2)
    fixed, exact = small(), small(iterations=3000)
    fixed.load_state_dict(energy.state_dict())
    exact.load_state_dict(energy.state_dict())
    with torch.no_grad():
        first, second = energy(x), energy(x)
        assert torch.equal(first, fixed(x))
        assert not torch.equal(first, second)
        for _ in range(2998):
            last = energy(x)
        torch.testing.assert_close(last, exact(x), rtol=1e-10, atol=0)


def test_buffers_restored_makes_calls_repeatable():
    energy, x = small(advance="always"), images(2)
    calls = []
    for _ in range(2):
        with frozen(energy), buffers_restored(energy):
            calls.append([energy(x), energy(x)])
    assert torch.equal(calls[0][0], calls[1][0])
    assert torch.equal(calls[0][1], calls[1][1])
    assert not torch.equal(calls[0][0], calls[0][1])


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 24, 16), (5, 32, 32)])
def test_any_channels_and_any_multiple_of_8(shape):
    assert small(shape)(images(3, shape)).shape == (3,)


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 32, 20), (1, 4, 4)])
def test_sizes_that_cannot_be_halved_are_refused_with_a_size_that_can(shape):
    with pytest.raises(RecipeError, match="multiples of 8") as error:
        build(IGEBMOptions(), shape)
    wanted = [-(-side // 8) * 8 for side in shape[1:]]
    assert f"{wanted[0]}×{wanted[1]}" in error.value.fix


def test_vectors_are_sent_to_the_mlp():
    with pytest.raises(RecipeError, match="energy igebm is for images") as error:
        build(IGEBMOptions(), (2,))
    assert "--energy mlp" in error.value.fix


@pytest.mark.parametrize(
    ("options", "words"),
    [({"label": 1}, "--energy.classes 10"), ({"classes": 3, "label": 3}, "from 0 to 2")],
)
def test_a_label_needs_its_class(options, words):
    with pytest.raises(RecipeError, match=r"energy\.label") as error:
        build(IGEBMOptions(**options), (3, 32, 32))
    assert words in error.value.fix
