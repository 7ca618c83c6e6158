"""Classification networks as energies: one number per image, a smooth function of that image alone."""

from __future__ import annotations

import copy
import socket
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from vaebm_backbones.energy import BackboneEnergy, build_timm, build_torchvision
from vaebm_backbones.layers import KINKED, batch_norms, group_norm
from vaebm_backbones.options import BackboneOptions
from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import frozen, stream

TORCHVISION = ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "regnet_y_400mf")
TIMM = ("test_resnet", "test_efficientnet", "test_vit", "resnet18")
SMALL = "mobilenet_v3_small"
"""1.5 million parameters, BatchNorm, dropout, hard swishes and hard sigmoids"""


def make(library: str, model: str, shape: tuple[int, ...] = (3, 32, 32), **options: str) -> BackboneEnergy:
    if library == "timm":
        pytest.importorskip("timm", reason="an optional dependency")
    build = build_timm if library == "timm" else build_torchvision
    return build(BackboneOptions(model=model, **options), shape)


def images(n: int, shape: tuple[int, ...] = (3, 32, 32), seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=stream(seed, "images"))


each = pytest.mark.parametrize(
    ("library", "model"), [("torchvision", m) for m in TORCHVISION] + [("timm", m) for m in TIMM]
)


@each
@pytest.mark.parametrize("norm", ["group", "frozen"])
def test_an_image_has_its_energy_whatever_is_beside_it(library, model, norm):
    """In training mode too, in which data and samples pass together, and whatever was computed before."""
    energy, x = make(library, model, norm=norm), images(5)
    energy.initialise(images(8, seed=1))
    assert energy.train().training
    alone = torch.cat([energy(x[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(energy(x), alone, rtol=1e-10, atol=1e-11)
    assert torch.equal(energy(x), energy.eval()(x))
    with frozen(energy):
        assert torch.equal(energy(x), energy.train()(x))


def test_kept_batch_norm_goes_by_the_batch_in_training_alone():
    energy, x = make("torchvision", SMALL, norm="keep"), images(5)
    one_by_one = torch.cat([energy.eval()(x[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(energy.eval()(x), one_by_one, rtol=1e-10, atol=1e-11)
    assert (energy.train()(x) - one_by_one).abs().max() > 1e-3
    dropouts = [m for m in energy.modules() if isinstance(m, nn.Dropout)]
    assert dropouts
    assert not any(m.training for m in dropouts)


@each
def test_gradient_is_that_of_finite_differences(library, model):
    """(E(x + hv) − E(x − hv)) / 2h against v · ∇E(x), for each of three images."""
    energy, x = make(library, model), images(3).requires_grad_()
    if model == "test_vit":  # its last layer starts at 0
        nn.init.normal_(energy.network.head.weight, std=0.1)
    (slope,) = torch.autograd.grad(energy(x).sum(), x)
    assert torch.isfinite(slope).all()
    v = torch.randn_like(x) / x[0].numel() ** 0.5
    with torch.no_grad():
        difference = (energy(x + 1e-4 * v) - energy(x - 1e-4 * v)) / 2e-4
    along = (v * slope).flatten(1).sum(1)
    assert (along != 0).all()
    torch.testing.assert_close(difference, along, rtol=1e-4, atol=1e-6 * float(slope.abs().max()))


@each
def test_no_activation_with_a_kink_remains(library, model):
    kinds = {type(m).__name__ for m in make(library, model).modules()}
    assert not kinds & (KINKED | {"Hardsigmoid", "HardSigmoid"})
    assert not batch_norms(make(library, model))


@pytest.mark.parametrize("norm", ["group", "frozen", "keep"])
def test_every_parameter_gets_a_gradient(norm):
    energy = make("torchvision", SMALL, norm=norm)
    energy.initialise(images(16))
    energy(images(4)).square().sum().backward()
    assert [k for k, p in energy.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_untouched_it_is_the_network_of_the_library():
    """On images normalised by ImageNet's mean and standard deviation per channel."""
    from torchvision.models import resnet18
    from torchvision.transforms.functional import normalize

    energy, x = make("torchvision", "resnet18", norm="keep", activation="keep").eval(), images(2)
    network = resnet18(num_classes=1).eval()
    network.load_state_dict(energy.network.state_dict())
    expected = network(normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))[:, 0]
    torch.testing.assert_close(energy(x), expected, rtol=1e-12, atol=1e-12)


def test_timm_images_are_normalised_as_the_network_expects():
    """A vision transformer of timm wants [−1, 1]."""
    energy = make("timm", "vit_tiny_patch16_224.augreg_in21k")
    assert energy.mean.flatten().tolist() == energy.std.flatten().tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(("library", "model"), [("torchvision", SMALL), ("timm", "test_resnet")])
def test_a_grey_image_is_seen_as_three_equal_channels(library, model):
    grey = make(library, model, (1, 32, 32))
    x = images(2, (1, 32, 32))
    torch.testing.assert_close(grey(x), grey(x.repeat(1, 3, 1, 1)), rtol=1e-12, atol=1e-12)
    assert grey(x).shape == (2,)


def test_fixed_statistics_are_those_of_the_data_they_are_measured_on():
    """Mean and variance per channel of what each BatchNorm sees, those before it at work already."""
    energy, x = make("torchvision", SMALL, norm="frozen"), images(24)
    seen: list[Tensor] = []
    norms = batch_norms(energy)
    hooks = [norm.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0])) for norm in norms]
    energy.initialise(x)
    for norm, h in zip(norms, seen, strict=True):
        flat = h.transpose(0, 1).flatten(1)
        torch.testing.assert_close(norm.running_mean, flat.mean(1), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(norm.running_var, flat.var(1), rtol=1e-9, atol=1e-12)
    for hook in hooks:
        hook.remove()
    before = copy.deepcopy(energy.state_dict())
    energy.train()(images(4, seed=2))
    assert all(torch.equal(v, before[k]) for k, v in energy.state_dict().items())


def test_groups_of_at_least_16_channels_take_over_scale_and_offset():
    norm = nn.BatchNorm2d(72, eps=1e-3)
    nn.init.normal_(norm.weight)
    group = group_norm(norm)
    assert (group.num_groups, group.eps) == (4, 1e-3)
    assert group.weight is norm.weight
    assert [group_norm(nn.BatchNorm2d(c)).num_groups for c in (8, 16, 24, 37, 64)] == [1, 1, 1, 1, 4]
    h = torch.randn(2, 72, 3, 3)
    unit = h.unflatten(1, (4, 18)).flatten(2)
    unit = (unit - unit.mean(2, keepdim=True)) / (unit.var(2, unbiased=False, keepdim=True) + 1e-3).sqrt()
    expected = norm.weight[:, None, None] * unit.view_as(h) + norm.bias[:, None, None]
    torch.testing.assert_close(group(h), expected, rtol=1e-10, atol=1e-10)


def test_layers_that_are_norm_and_activation_in_one_keep_their_activation():
    pytest.importorskip("timm", reason="an optional dependency")
    from timm.layers import BatchNormAct2d

    norm = BatchNormAct2d(32, act_layer=nn.SiLU)
    both, h = group_norm(norm), torch.randn(2, 32, 4, 4)
    torch.testing.assert_close(both(h), nn.functional.silu(both[0](h)))


@pytest.mark.parametrize("norm", ["group", "frozen", "keep"])
def test_state_restores_the_energy(norm):
    first, second = (make("torchvision", SMALL, norm=norm) for _ in range(2))
    x = images(3)
    first.initialise(images(16))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(x), second.eval()(x))


def test_side_heads_are_taken_away():
    energy = make("torchvision", "googlenet", (3, 64, 64))
    assert not any("aux" in k for k in energy.state_dict())
    assert energy.train()(images(2, (3, 64, 64))).shape == (2,)


@each
def test_it_can_be_built_without_values(library, model):
    with torch.device("meta"):
        energy = make(library, model)
        assert energy(torch.empty(2, 3, 32, 32)).shape == (2,)
    assert all(p.is_meta for p in energy.parameters())


@pytest.mark.parametrize(
    ("library", "model", "shape", "words"),
    [
        ("torchvision", "resnet81", (3, 32, 32), r"torchvision has no .* \"resnet81\"[^?]*resnet18"),
        ("timm", "efficientnetb0", (3, 32, 32), r"timm has no .*[^?]*efficientnet_b0"),
        ("timm", "hf-hub:someone/something", (3, 32, 32), "timm has no .* \"hf-hub:someone/something\""),
        ("torchvision", "qqq", (3, 32, 32), "List them: python"),
        ("torchvision", "resnet18", (2,), "--energy mlp"),
        ("timm", "resnet18", (4, 32, 32), "1 or 3 channels; these have 4.*\n.*--energy resnet"),
        ("torchvision", "alexnet", (3, 32, 32), "alexnet of torchvision does not take images of 32×32"),
        ("torchvision", "vgg11", (3, 16, 16), "It takes 32×32: resize or pad"),
        ("torchvision", "vit_b_16", (3, 32, 48), "for square images"),
        ("timm", "vit_tiny_patch16_224", (1, 8, 8), "It takes 16×16: resize or pad"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_to_do(library, model, shape, words):
    with pytest.raises(RecipeError, match=words):
        make(library, model, shape)


def test_timm_is_needed_for_its_own_networks_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RecipeError, match="pip install timm"):
        build_timm(BackboneOptions(), (3, 32, 32))
    assert make("torchvision", SMALL)(images(1)).shape == (1,)


@pytest.mark.parametrize(("library", "model"), [("torchvision", SMALL), ("timm", "test_resnet.r160_in1k")])
def test_nothing_is_fetched(library, model, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert make(library, model)(images(1)).shape == (1,)


def test_listing_the_plugin_does_not_import_torch():
    code = (
        "import sys, vaebm_backbones as p; list(p.vaebm_components()); "
        "sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
