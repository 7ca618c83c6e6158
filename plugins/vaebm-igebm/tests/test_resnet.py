"""VAEBM's energy network: its published sizes, its formula, its initialisation."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vaebm_igebm.options import LAYOUTS, ResNetOptions, halving
from vaebm_igebm.resnet import ResNetEnergy, build, scaled_swish
from vaebm_igebm.spectral_norm import SpectralNormConv2d
from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import NormalisedConv2d, WeightNormConv2d, frozen

PUBLISHED = [
    ("cifar10", 128, (3, 32, 32), 5_137_921),
    ("celeba64", 64, (3, 64, 64), 4_337_537),
    ("lsun64", 64, (3, 64, 64), 5_813_633),
    ("celebahq256", 64, (3, 256, 256), 14_207_105),
    ("mnist", 64, (3, 32, 32), 679_553),  # StackedMNIST: three channels
    ("mnist", 64, (1, 28, 28), 678_401),
]


def small(layout: str = "auto", shape: tuple[int, ...] = (3, 16, 24), **options: Any) -> ResNetEnergy:
    return build(ResNetOptions(width=4, layout=layout, **options), shape)


def images(n: int, shape: tuple[int, ...] = (3, 16, 24)) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("layout", "width", "shape", "count"), PUBLISHED)
def test_parameter_counts_are_the_published_ones(layout, width, shape, count):
    """On the meta device, where the forward pass costs nothing either."""
    with torch.device("meta"):
        energy = build(ResNetOptions(width=width, layout=layout), shape)
        assert energy(torch.empty(2, *shape)).shape == (2,)
    assert sum(p.numel() for p in energy.parameters()) == count


NORMALISED = [  # CIFAR-10's at width 128: a bias less per normalised convolution, two of BatchNorm more
    ("weight", True, 5_137_921 + 2_560),
    ("spectral", False, 5_137_921 - 3_328),  # a scale less per channel of 16 convolutions
    ("spectral", True, 5_137_921 - 3_328 + 2_560),
]


@pytest.mark.parametrize(("norm", "batch_norm", "count"), NORMALISED)
def test_parameter_counts_with_other_normalisations(norm, batch_norm, count):
    with torch.device("meta"):
        energy = build(ResNetOptions(width=128, norm=norm, batch_norm=batch_norm), (3, 32, 32))
        assert energy(torch.empty(2, 3, 32, 32)).shape == (2,)
    assert sum(p.numel() for p in energy.parameters()) == count


def test_parameter_names_are_those_of_released_checkpoints():
    names = set(small().state_dict())
    conv = {"weight", "bias", "log_weight_norm"}
    expected = {f"conv1.{k}" for k in conv} | {"linear.weight", "linear.bias"}
    for i in range(4):  # the MNIST layout: blocks 0 and 2 have a skip convolution
        expected |= {f"blocks.{i}.conv{j}.{k}" for j in (1, 2) for k in conv}
    expected |= {f"blocks.{i}.skip.0.{k}" for i in (0, 2) for k in ("weight", "log_weight_norm")}
    assert names == expected


def formula(energy: ResNetEnergy, layout: str, x: Tensor) -> Tensor:
    """The network written out with plain functions and weight norm by hand."""
    p = energy.state_dict()

    def conv(name: str, h: Tensor, padding: int) -> Tensor:
        w = p[f"{name}.weight"]
        unit = w / (w.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-5)
        return F.conv2d(h, p[f"{name}.log_weight_norm"].exp() * unit, p.get(f"{name}.bias"), padding=padding)

    def act(h: Tensor) -> Tensor:
        return h * torch.sigmoid(h) / 1.1

    h = act(conv("conv1", x, 1))
    for i, block in enumerate(LAYOUTS[layout]):
        r = conv(f"blocks.{i}.conv2", act(conv(f"blocks.{i}.conv1", h, 1)), 1)
        changes = block.down or block.inputs != block.outputs
        r = r + (conv(f"blocks.{i}.skip.0", h, 0) if changes else h)
        h = act(r.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5)) if block.down else r)
    return (h.sum((2, 3)) @ p["linear.weight"].T + p["linear.bias"]).squeeze(1)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_energy_is_the_formula(layout):
    side = halving(layout)
    energy = small(layout, (2, side, 2 * side))
    x = images(2, (2, side, 2 * side))
    torch.testing.assert_close(energy(x), formula(energy, layout, x), rtol=1e-12, atol=1e-12)


def test_energies_of_images_do_not_depend_on_each_other():
    energy, x = small(), images(4)
    one_by_one = torch.cat([energy(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(energy(x), one_by_one, rtol=1e-12, atol=1e-13)


def test_held_weights_change_neither_energy_nor_input_gradient():
    energy, x = small(), images(2).requires_grad_()
    free = energy(x)
    (slope,) = torch.autograd.grad(free.sum(), x)
    with frozen(energy):
        held = energy(x)
        (held_slope,) = torch.autograd.grad(held.sum(), x)
    assert torch.equal(free, held)
    assert torch.equal(slope, held_slope)


def test_every_parameter_gets_a_gradient():
    energy = small()
    energy(images(2)).square().sum().backward()
    assert [k for k, p in energy.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_state_restores_the_energy():
    first, second, x = small(), small(), images(2)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


def test_data_dependent_initialisation_reaches_every_convolution():
    """On the images it was given, each pre-activation has mean 0 (where there is a bias) and std 0.2."""
    energy, x = small(), images(10)
    energy.initialise(x)
    seen = {}
    for name, module in energy.named_modules():
        if isinstance(module, WeightNormConv2d):
            module.register_forward_hook(lambda m, _, out, name=name: seen.update({name: (m, out)}))
    energy(x)
    assert len(seen) == 11
    for name, (module, out) in seen.items():
        flat = out.detach().transpose(0, 1).flatten(1)
        assert torch.allclose(flat.std(1), torch.tensor(0.2), rtol=2e-3), name
        if module.bias is not None:
            assert flat.mean(1).abs().max() < 1e-10, name


def test_data_dependent_initialisation_can_be_turned_off():
    energy = small(data_init=False)
    before = {k: v.clone() for k, v in energy.state_dict().items()}
    energy.initialise(images(4))
    assert all(torch.equal(v, before[k]) for k, v in energy.state_dict().items())


def test_a_forward_pass_never_initialises():
    """Unlike the released code's, whose first forward after loading overwrites parameters."""
    energy = small()
    before = {k: v.clone() for k, v in energy.state_dict().items()}
    energy(images(4))
    assert all(torch.equal(v, before[k]) for k, v in energy.state_dict().items())
    energy.initialise(images(4))
    after = {k: v.clone() for k, v in energy.state_dict().items()}
    energy(images(3))
    assert all(torch.equal(v, after[k]) for k, v in energy.state_dict().items())


def test_scaled_swish_has_slope_at_most_one():
    h = torch.linspace(-20, 20, 400_001, requires_grad=True)
    (slope,) = torch.autograd.grad(scaled_swish(h).sum(), h)
    assert 0.999 < slope.abs().max() <= 1


DISCRIMINATOR = {"norm": "spectral", "batch_norm": True}


def discriminator_formula(energy: ResNetEnergy, x: Tensor, statistics: str) -> Tensor:
    """The MNIST layout with W/σ from a dense decomposition, normalised by the batch or as it ran."""
    p = energy.state_dict()

    def conv(name: str, h: Tensor, padding: int) -> Tensor:
        w = p[f"{name}.weight_orig"]
        return F.conv2d(
            h, w / torch.linalg.svdvals(w.flatten(1)).max(), p.get(f"{name}.bias"), padding=padding
        )

    def norm(name: str, h: Tensor) -> Tensor:
        mean, var = p[f"{name}.running_mean"], p[f"{name}.running_var"]
        if statistics == "batch":
            mean, var = h.mean((0, 2, 3)), h.var((0, 2, 3), unbiased=False)
        unit = (h - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        return p[f"{name}.weight"][:, None, None] * unit + p[f"{name}.bias"][:, None, None]

    def act(h: Tensor) -> Tensor:
        return h * torch.sigmoid(h) / 1.1

    h = act(conv("conv1", x, 1))
    for i, block in enumerate(LAYOUTS["mnist"]):
        r = norm(f"blocks.{i}.norm1", conv(f"blocks.{i}.conv1", h, 1))
        r = norm(f"blocks.{i}.norm2", conv(f"blocks.{i}.conv2", act(r), 1))
        changes = block.down or block.inputs != block.outputs
        r = r + (conv(f"blocks.{i}.skip.0", h, 0) if changes else h)
        h = act(F.avg_pool2d(r, 2) if block.down else r)
    return (h.sum((2, 3)) @ p["linear.weight"].T + p["linear.bias"]).squeeze(1)


def test_the_discriminator_is_the_formula():
    """In training mode by the batch, in eval mode and in a chain by running statistics."""
    energy, x = small("mnist", **DISCRIMINATOR), images(6)
    for _ in range(400):  # the power iterations converge
        for m in energy.modules():
            if isinstance(m, SpectralNormConv2d):
                m.weight_u.copy_(m.singular_vectors()[0])
    torch.testing.assert_close(energy(x), discriminator_formula(energy, x, "batch"), rtol=1e-6, atol=1e-6)
    with frozen(energy):
        held = energy(x)
    torch.testing.assert_close(held, discriminator_formula(energy, x, "running"), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(energy.eval()(x), held)
    assert (held - energy.train()(x)).abs().max() > 0.01


@pytest.mark.parametrize(("norm", "batch_norm"), list(product(("weight", "spectral"), (False, True))))
def test_every_network_learns_and_comes_back(norm, batch_norm):
    """A gradient for each parameter, a state that restores E, and weights held in a chain."""
    energy, other = (small(norm=norm, batch_norm=batch_norm) for _ in range(2))
    energy(images(4)).square().sum().backward()
    assert [k for k, p in energy.named_parameters() if p.grad is None or not p.grad.any()] == []
    other.load_state_dict(energy.state_dict())
    assert torch.equal(energy.eval()(images(2)), other.eval()(images(2)))
    with frozen(energy):
        assert all(m.held_weight is not None for m in energy.modules() if isinstance(m, NormalisedConv2d))
        assert torch.equal(energy(images(2)), other(images(2)))


@pytest.mark.parametrize("options", [{"norm": "spectral"}, {"batch_norm": True}, DISCRIMINATOR], ids=str)
def test_there_is_nothing_to_initialise_where_another_layer_normalises(options):
    energy = small(**options)
    before = {k: v.clone() for k, v in energy.state_dict().items()}
    energy.initialise(images(4))
    assert all(torch.equal(v, before[k]) for k, v in energy.state_dict().items())


def test_with_spectral_norm_alone_the_signal_fades():
    """What the README says of a new network, and why the WGAN needs both: at least a factor of 1,000."""
    spread = {}
    for batch_norm in (False, True):
        energy = build(
            ResNetOptions(width=16, layout="cifar10", norm="spectral", batch_norm=batch_norm), (3, 32, 32)
        )
        with torch.no_grad():
            for _ in range(30):
                energies = energy(images(8, (3, 32, 32)))
        spread[batch_norm] = energies.std()
    assert spread[False] * 1000 < spread[True]


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 28, 28), "mnist"),
        ((1, 16, 16), "mnist"),
        ((1, 36, 36), "mnist"),
        ((3, 32, 32), "cifar10"),
        ((3, 40, 48), "cifar10"),
        ((3, 64, 64), "celeba64"),
        ((3, 96, 96), "celeba64"),
        ((3, 128, 128), "celeba64"),
        ((3, 256, 256), "celebahq256"),
        ((5, 512, 256), "celebahq256"),
    ],
)
def test_auto_layout(shape, layout):
    assert ResNetOptions().blocks(shape) == LAYOUTS[layout]
    with torch.device("meta"):
        assert build(ResNetOptions(), shape)(torch.empty(1, *shape)).shape == (1,)


@pytest.mark.parametrize("shape", [(3, 30, 30), (3, 32, 50), (3, 3, 3)])
def test_sizes_that_cannot_be_halved_are_refused_with_a_size_that_can(shape):
    with pytest.raises(RecipeError, match="multiples of 4") as error:
        build(ResNetOptions(), shape)
    wanted = [-(-side // 4) * 4 for side in shape[1:]]
    assert f"{wanted[0]}×{wanted[1]}" in error.value.fix


def test_a_layout_that_halves_too_often_is_refused():
    with pytest.raises(RecipeError, match=r"celebahq256 halves images 6 times, which 32×32 does not allow"):
        build(ResNetOptions(layout="celebahq256"), (3, 32, 32))


def test_vectors_are_sent_to_the_mlp():
    with pytest.raises(RecipeError, match="--energy mlp"):
        build(ResNetOptions(), (2,))


def test_listing_the_plugin_does_not_import_torch():
    code = "import sys, vaebm_igebm; list(vaebm_igebm.vaebm_components()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
