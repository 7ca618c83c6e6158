"""Towers, names, sizes: what published checkpoints and recipes rely on."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from vaebm_nvae import towers, vaebm_components
from vaebm_nvae.cells import Cell, FactorizedReduce
from vaebm_nvae.network import build
from vaebm_nvae.options import NVAEOptions
from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import standard_normal, stream

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
WEIGHT_NORM = ("weight", "bias", "log_weight_norm")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(scales=1, groups=30), (30,)),
        (dict(scales=3, groups=5, ada_groups=True, min_groups=2), (5, 2, 2)),
        (dict(scales=3, groups=5, ada_groups=True), (5, 2, 1)),
        (dict(scales=2, groups=3), (3, 3)),
    ],
)
def test_groups_per_scale(options, expected):
    assert NVAEOptions(**options).groups_per_scale == expected


def letters(tower: nn.ModuleList) -> str:
    """N cell, D down, U up, C combiner."""

    def letter(layer: nn.Module) -> str:
        if not isinstance(layer, Cell):
            return "C"
        if isinstance(layer.skip, FactorizedReduce):
            return "D"
        return "U" if isinstance(layer.skip, nn.Sequential) else "N"

    return "".join(map(letter, tower))


def test_order_of_layers_in_the_towers():
    options = NVAEOptions(
        channels=4, scales=2, groups=2, cells_per_group_enc=1, cells_per_group_dec=1, preprocess_blocks=2,
        postprocess_blocks=2, preprocess_cells=3, postprocess_cells=3,
    )  # fmt: skip
    assert letters(towers.enc_tower(options, 4)) == "NCNCDNCN"
    assert letters(towers.dec_tower(options, 4)) == "CNCUNCNC"
    assert letters(towers.pre_process(options)) == "NNDNND"
    assert letters(towers.post_process(options, 4)) == "UNNUNN"


def test_groups_are_ordered_from_coarse_to_fine(make):
    model = make((3, 16, 24), scales=2, groups=2, latent=5, ada_groups=True)
    assert list(model.groups.items()) == [
        ("z0", (5, 4, 6)),
        ("z1", (5, 8, 12)),
        ("z2", (5, 8, 12)),
        ("x", (3, 16, 24)),
    ]


def expected_names() -> set[str]:
    """State-dict keys of one scale of two groups, by the naming rules of published checkpoints."""

    def keys(prefix: str, parts: tuple[str, ...]) -> set[str]:
        return {f"{prefix}.{part}" for part in parts}

    def bn_swish(cell: str) -> set[str]:
        return {
            key
            for i in range(2)
            for key in keys(f"{cell}._ops.{i}.bn_act", BATCH_NORM)
            | keys(f"{cell}._ops.{i}.conv_0", WEIGHT_NORM)
        }

    def bottleneck(cell: str, first: int) -> set[str]:
        op = f"{cell}._ops.0.conv"
        norms = (f"{first}.bn", f"{first + 1}.conv.1", f"{first + 2}.conv.1", f"{first + 4}.bn")
        weights = (f"{first + 1}.conv.0.weight", f"{first + 2}.conv.0.weight", f"{first + 3}.weight")
        return keys(op, weights).union(*(keys(f"{op}.{norm}", BATCH_NORM) for norm in norms))

    cells = [
        *(bn_swish(f"pre_process.{i}") for i in (0, 1)),
        *(keys(f"pre_process.1.skip.conv_{i}", WEIGHT_NORM) for i in (1, 2, 3, 4)),
        *(bn_swish(f"enc_tower.{i}") for i in (0, 2)),
        bottleneck("dec_tower.1", 0),
        bottleneck("post_process.0", 1),
        keys("post_process.0.skip.1", ("weight", "log_weight_norm")),
        bottleneck("post_process.1", 0),
    ]
    gated = ("pre_process.0", "pre_process.1", "enc_tower.0", "enc_tower.2", "dec_tower.1")
    gates = [
        keys(f"{cell}.se.se", ("0.weight", "0.bias", "2.weight", "2.bias"))
        for cell in (*gated, "post_process.0", "post_process.1")
    ]
    convolutions = [
        keys(name, WEIGHT_NORM)
        for name in (
            "stem", "enc_tower.1.conv", "enc0.1", "enc_sampler.0", "enc_sampler.1", "dec_sampler.0.1",
            "dec_tower.0.conv", "dec_tower.2.conv", "image_conditional.1",
        )
    ]  # fmt: skip
    return {"prior_ftr0"}.union(*cells, *gates, *convolutions)


def test_parameter_names_are_those_of_published_checkpoints(make):
    assert set(make().state_dict()) == expected_names()


def test_a_single_group_maps_its_latent_straight_to_the_post_process(make):
    names = set(make(groups=1).state_dict())
    assert {"stem_decoder.weight", "stem_decoder.bias", "stem_decoder.log_weight_norm", "prior_ftr0"} <= names
    assert not any(name.startswith(("enc_tower", "dec_tower", "dec_sampler")) for name in names)


def test_no_gate_without_squeeze_and_excitation(make):
    assert not any(".se." in name for name in make(se=False).state_dict())


@pytest.mark.parametrize(
    ("options", "count"),
    [
        # VAEBM's CIFAR-10 backbone; its flow cells, 54 560 per group, would make it 130.7 M.
        (NVAEOptions(), 129_107_204),
        (NVAEOptions(channels=32, groups=8, latent=8), 2_338_356),
    ],
)
def test_published_sizes(options, count):
    """On the meta device, where the forward pass costs nothing either."""
    with torch.device("meta"):
        model = build(options, (3, 32, 32))
        x = torch.empty(2, 3, 32, 32)
    assert sum(p.numel() for p in model.parameters()) == count
    rng = stream(0)
    assert model.decode(standard_normal(model.groups, 2, rng, x)).x.shape == x.shape
    assert model.elbo(x, rng).kl.shape == (2, options.total_groups)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        (
            (3, 30, 32),
            dict(preprocess_blocks=2, postprocess_blocks=2),
            ["30 x 32", "multiples of 4", "size 32"],
        ),
        (
            (3, 32, 32),
            dict(scales=5),
            ["at least 64", "--generator.scales", "--dataset.size 64", "--dataset.pad"],
        ),
        ((1, 28, 28), dict(scales=3), ["28 x 28", "multiples of 8", "--dataset.size 32"]),
        ((2,), {}, ["(2,)", "--generator mlp"]),
        ((3, 32, 32), dict(postprocess_blocks=2), ["--generator.postprocess-blocks 1"]),
    ],
)
def test_images_that_do_not_fit_are_refused_with_the_way_out(shape, options, words):
    with pytest.raises(RecipeError) as error:
        build(NVAEOptions(channels=4, groups=1, **options), shape)
    assert all(word in str(error.value) for word in words)


def test_listing_the_plugin_does_not_import_torch():
    code = "import sys, vaebm_nvae; list(vaebm_nvae.vaebm_components()); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    generator = next(iter(vaebm_components()))
    assert (generator.kind, generator.name, generator.options) == ("generator", "nvae", NVAEOptions)
