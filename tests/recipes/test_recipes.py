"""Every shipped recipe resolves, gives itself again, and holds the published values."""

from __future__ import annotations

import tomllib

import pytest
import torch

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.build import build_energy, build_generator
from vaebm_toolkit.registry import installed
from vaebm_toolkit.training.estimate import count, describe

PUBLISHED = {  # VAEBM, tables 6 and 7: energy parameters, groups, and some values
    "vaebm-cifar10": (5_137_921, 30, {"sampler.step_size": 8e-5, "sampling.steps": 16, "trainer.lr": 4e-5,
                                      "buffer.capacity": 10_000, "trainer.negatives": "sample"}),
    "vaebm-celeba64": (4_337_537, 15, {"sampler.step_size": 5e-6, "sampling.steps": 20, "trainer.lr": 5e-5,
                                       "buffer.name": "none", "trainer.negatives": "mean"}),
    "vaebm-lsun-church64": (5_813_633, 15, {"sampler.step_size": 4e-6, "sampling.steps": 20,
                                            "buffer.reuse": 0.6, "pretrain.epochs": 60}),
    "vaebm-celebahq256": (14_207_105, 20, {"sampler.step_size": 3e-6, "sampler.steps": 6,
                                           "sampling.steps": 24, "trainer.spectral": 0.3,
                                           "trainer.batch_size": 16,
                                           "pretrain.spectral_bn_start": 10.0, "dataset.bits": 5}),
}  # fmt: skip


@pytest.mark.parametrize("name", recipes.shipped())
def test_a_recipe_gives_itself_again(name: str) -> None:
    registry = installed()
    resolved = recipes.resolve(recipes.read(name), registry)
    again = recipes.resolve(tomllib.loads(recipes.dumps(resolved.tables())), registry)
    assert again == resolved
    assert recipes.summary(recipes.shipped()[name])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings(name: str) -> None:
    parameters, groups, values = PUBLISHED[name]
    recipe = recipes.resolve(recipes.read(name), installed())
    tables = recipe.tables()
    for path, value in values.items():
        table, key = path.split(".")
        assert tables[table][key] == value, path
    shape = {"vaebm-cifar10": (3, 32, 32), "vaebm-celebahq256": (3, 256, 256)}.get(name, (3, 64, 64))
    with torch.device("meta"):
        assert count(build_energy(recipe, shape)) == parameters
        assert len(build_generator(recipe, shape).groups) == groups + 1
    assert tables["sampler"]["target"] == "exact"
    assert (tables["trainer"]["beta1"], tables["trainer"]["beta2"]) == (0.99, 0.999)


@pytest.mark.parametrize("name", ["digits", "gaussians25", "fashion_mnist", "cifar10"])
def test_dry_runs_tell_parameters_and_memory(name: str) -> None:
    recipe = recipes.resolve(recipes.read(name), installed())
    text = describe(recipe)
    for words in ("generator", "energy", "parameters", "of memory", "GFLOP per step"):
        assert words in text
    assert "not estimated" not in text


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_dry_runs_of_published_settings(name: str) -> None:
    text = describe(recipes.resolve(recipes.read(name), installed()))
    assert f"{PUBLISHED[name][0]:,} parameters" in text
    assert "not estimated" not in text


def test_estimated_activations_match_a_real_step() -> None:
    """The meta-device estimate equals what the same step keeps on the CPU."""
    from vaebm_toolkit.build import build_trainer
    from vaebm_toolkit.core import Horizon, stream
    from vaebm_toolkit.training.estimate import SavedBytes, one_step

    torch.set_default_dtype(torch.float32)
    recipe = recipes.resolve(recipes.read("digits"), installed())
    shape = (1, 8, 8)
    generator = build_generator(recipe, shape)
    trainer = build_trainer(recipe, "pretrain", Horizon(1, 1, 8), {"generator": generator})
    with SavedBytes() as real:
        for update in trainer.updates(torch.rand(8, *shape), 0, stream(0)):
            update.loss.backward()
    with torch.device("meta"):
        parts = {"generator": build_generator(recipe, shape), "energy": None, "sampler": None, "buffer": None}
    assert one_step(recipe, "pretrain", shape, parts, 8, 0)[1] == pytest.approx(real.peak, rel=0.02)


def test_arithmetic_of_a_grouped_convolution() -> None:
    """2 · outputs · (C_in / groups) · k² each for the output, the input's and the weight's gradient."""
    from vaebm_toolkit.training.estimate import Flops

    layer = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False, device="meta")
    x = torch.empty(2, 8, 5, 5, device="meta", requires_grad=True)
    with Flops() as flops:
        layer(x).sum().backward()
    assert flops.total == 3 * 2 * (2 * 8 * 5 * 5) * 9


def test_flags_beat_the_recipe_and_the_recipe_beats_defaults() -> None:
    base = {"sampler": {"name": "latent-ld", "steps": 7, "step_size": 0.5}}
    merged = recipes.merge(base, {"sampler": {"steps": 9}})
    sampler = recipes.resolve(merged, installed()).parts["sampler"].options
    assert (sampler.steps, sampler.step_size, sampler.target) == (9, 0.5, "exact")


def test_steps_replace_epochs() -> None:
    merged = recipes.merge({"pretrain": {"epochs": 3}}, {"pretrain": {"steps": 9}})
    assert merged["pretrain"] == {"steps": 9}


def test_threads_are_used() -> None:
    from vaebm_toolkit.training.device import use_threads

    before = torch.get_num_threads()
    use_threads(1)
    assert torch.get_num_threads() == 1
    use_threads(None)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_another_part_drops_the_options_of_the_first() -> None:
    base = recipes.read("digits")
    merged = recipes.merge(base, {"energy": {"name": "mlp"}})
    assert recipes.resolve(merged, installed()).parts["energy"].name == "mlp"


def test_test_time_sampling_follows_the_training_sampler() -> None:
    base = {"sampler": {"name": "latent-ld", "step_size": 0.5}, "sampling": {"steps": 99}}
    sampling = recipes.resolve(base, installed()).parts["sampling"].options
    assert (sampling.steps, sampling.step_size) == (99, 0.5)
