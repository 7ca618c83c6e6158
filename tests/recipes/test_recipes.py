"""Every shipped recipe resolves, gives itself again, and holds the published values."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.building import build_energy, build_generator, build_sampler
from vaebm_toolkit.errors import RecipeError
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


NVAES = {  # NVAE, table 6: groups, generator parameters as built here, and some values
    "nvae-mnist": ((1, 28, 28), 15, 33_363_134, {"generator.head": "bernoulli", "dataset.binarise": True,
                                                 "pretrain.epochs": 400, "pretrain.spectral_bn": 0.01}),
    "nvae-cifar10": ((3, 32, 32), 30, 130_852_480, {"generator.head": "logistic-mixture",
                                                    "generator.flows": 1, "pretrain.spectral_bn": 0.01}),
    "nvae-celeba64": ((3, 64, 64), 35, 153_281_364, {"generator.channels": 64, "generator.groups": 20,
                                                     "generator.ada_groups": True}),
    "nvae-celebahq256": ((3, 256, 256), 36, 330_798_664, {"generator.bits": 5, "dataset.bits": 5,
                                                          "generator.min_groups": 4, "generator.flows": 2,
                                                          "pretrain.spectral_bn_start": 1.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", NVAES)
def test_nvaes_own_settings(name: str) -> None:
    shape, groups, parameters, values = NVAES[name]
    recipe = recipes.resolve(recipes.read(name), installed())
    tables = recipe.tables()
    for path, value in values.items():
        table, key = path.split(".")
        assert tables[table][key] == value, path
    assert tables["trainer"] == {"name": "none"}
    with torch.device("meta"):
        generator = build_generator(recipe, shape)
    assert (len(generator.groups) - 1, count(generator)) == (groups, parameters)


@pytest.mark.parametrize(
    ("name", "target", "buffer", "clip", "passes", "stretch"),
    [("official", "official", "none", True, 1, True), ("paper", "exact", "replay", False, 500, False)],
)
def test_option_sets_lie_over_a_recipe(
    name: str, target: str, buffer: str, clip: bool, passes: int, stretch: bool
) -> None:
    """Everything else stays the recipe's."""
    base = recipes.read("vaebm-cifar10")
    tables = recipes.resolve(recipes.merge(base, recipes.read(name)), installed()).tables()
    assert tables["sampler"]["target"] == target
    assert tables["sampling"]["target"] == target
    assert tables["buffer"]["name"] == buffer
    assert tables["trainer"]["moment_clip"] == clip
    assert tables["pretrain"]["bn_passes"] == passes
    assert tables["evaluate"]["stretch"] == stretch
    assert (tables["sampler"]["step_size"], tables["generator"]["channels"]) == (8e-5, 128)


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
        generator = build_generator(recipe, shape)
    assert len(generator.groups) == groups + 1
    if name == "vaebm-cifar10":
        assert count(generator) == 130_744_004
    assert tables["sampler"]["target"] == "exact"
    assert (tables["trainer"]["beta1"], tables["trainer"]["beta2"]) == (0.99, 0.999)


def test_stacked_mnists_energy_is_the_published_one() -> None:
    """679,553 parameters (VAEBM, appendix E); modes are counted over the usual 26,000 samples."""
    recipe = recipes.resolve(recipes.read("stacked-mnist"), installed())
    shape = recipe.parts["dataset"].options.data_shape
    with torch.device("meta"):
        assert count(build_energy(recipe, shape)) == 679_553
    assert shape == (3, 28, 28)
    assert recipe.evaluate.samples == 26_000
    assert "modes" in recipe.evaluate.metrics
    text = describe(recipe)
    assert "679,553 parameters" in text
    assert "not estimated" not in text


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
    torch.set_default_dtype(torch.float32)
    text = describe(recipes.resolve(recipes.read(name), installed()))
    assert f"{PUBLISHED[name][0]:,} parameters" in text
    assert "not estimated" not in text
    if name == "vaebm-celebahq256":  # what `fits` says of the largest
        assert "5.5 GiB weights, gradients and moments" in text


def test_estimated_activations_match_a_real_step() -> None:
    """The meta-device estimate equals what the same step has alive on the CPU."""
    from vaebm_toolkit.building import build_trainer
    from vaebm_toolkit.core import Horizon, stream
    from vaebm_toolkit.training.cost import one_step
    from vaebm_toolkit.training.metering import Meter

    torch.set_default_dtype(torch.float32)
    recipe = recipes.resolve(recipes.read("digits"), installed())
    shape = (1, 8, 8)
    generator = build_generator(recipe, shape)
    trainer = build_trainer(recipe, "pretrain", Horizon(1, 1, 8), {"generator": generator})
    with Meter(weights=generator.parameters()) as real:
        for update in trainer.updates(torch.rand(8, *shape), 0, stream(0)):
            update.loss.backward()
    with torch.device("meta"):
        parts = {"generator": build_generator(recipe, shape), "energy": None, "sampler": None, "buffer": None}
    assert one_step(recipe, "pretrain", shape, parts, 8)[1] == pytest.approx(real.peak, rel=0.02)


def test_every_kernel_application_is_counted() -> None:
    """One application is run, and the arithmetic of the others is the same."""
    from vaebm_toolkit.training.cost import one_step

    def flops(steps: int) -> int:
        tables = recipes.merge(recipes.read("digits"), {"sampler": {"steps": steps}})
        recipe = recipes.resolve(tables, installed())
        with torch.device("meta"):
            parts = {
                "generator": build_generator(recipe, (1, 8, 8)), "energy": build_energy(recipe, (1, 8, 8)),
                "sampler": build_sampler(recipe, "sampler", None), "buffer": None,
            }  # fmt: skip
        return one_step(recipe, "trainer", (1, 8, 8), parts, 8)[2]

    first, more = flops(1), flops(2) - flops(1)
    assert more > 0
    assert flops(7) == first + 6 * more


def test_arithmetic_of_a_grouped_convolution() -> None:
    """2 · outputs · (C_in / groups) · k² each for the output, the input's and the weight's gradient."""
    from vaebm_toolkit.training.metering import Meter

    layer = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False, device="meta")
    x = torch.empty(2, 8, 5, 5, device="meta", requires_grad=True)
    with Meter() as meter:
        layer(x).sum().backward()
    assert meter.flops == 3 * 2 * (2 * 8 * 5 * 5) * 9


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


def test_igebms_settings() -> None:
    """Du & Mordatch, 2019; their step λ = 10 is η = 20 here. No generator, and no stage for one."""
    recipe = recipes.resolve(recipes.read("igebm-cifar10"), installed())
    tables = recipe.tables()
    for path, value in {
        "sampler.steps": 60, "sampler.step_size": 20.0, "sampler.noise_scale": 0.005,
        "sampler.grad_clip": 0.01, "sampler.clamp": True, "buffer.capacity": 10_000, "buffer.reuse": 0.95,
        "buffer.anneal_steps": 0, "trainer.batch_size": 128, "trainer.energy_l2": 1.0, "trainer.lr": 1e-4,
        "trainer.beta1": 0.0, "trainer.beta2": 0.999, "trainer.start": "noise", "energy.width": 128,
        "sampling.steps": 150,
    }.items():  # fmt: skip
        table, key = path.split(".")
        assert tables[table][key] == value, path
    assert not {"generator", "pretrain"} & set(tables)
    text = describe(recipe)
    assert "energy igebm: 5,134,593 parameters" in text
    assert "GFLOP per step" in text
    assert "not estimated" not in text


DATA_SPACE = {"trainer": {"name": "ebm"}, "sampler": {"name": "data-ld"}}


def test_chains_from_noise_need_no_generator() -> None:
    """Whatever recipe it starts from: none is built, trained, or shown."""
    for base in ({}, recipes.read("digits")):
        recipe = recipes.resolve(recipes.merge(base, DATA_SPACE), installed())
        assert not {"generator", "pretrain"} & set(recipe.parts)
        again = recipes.resolve(tomllib.loads(recipes.dumps(recipe.tables())), installed())
        assert again == recipe


def test_chains_from_a_generator_keep_it_and_its_stage() -> None:
    over = {**DATA_SPACE, "trainer": {"name": "ebm", "start": "generator"}}
    recipe = recipes.resolve(recipes.merge(recipes.read("digits"), over), installed())
    assert recipe.parts["generator"].options.channels == 16
    assert recipe.parts["pretrain"].stage.epochs == 60
    assert recipes.resolve(tomllib.loads(recipes.dumps(recipe.tables())), installed()) == recipe


def test_chains_from_a_generator_that_is_not_there() -> None:
    with pytest.raises(RecipeError, match=r"with trainer\.start = generator") as e:
        recipes.resolve({**DATA_SPACE, "trainer": {"name": "ebm", "start": "generator"}}, installed())
    assert "--generator NAME" in e.value.fix


def test_another_sampler_drops_the_test_time_options_of_the_first() -> None:
    base = {"sampler": {"name": "latent-ld"}, "sampling": {"target": "official", "steps": 3}}
    merged = recipes.merge(base, {**DATA_SPACE, "sampling": {"steps": 9}})
    sampling = recipes.resolve(merged, installed()).parts["sampling"]
    assert (sampling.name, sampling.options.steps) == ("data-ld", 9)
    apart = recipes.merge(base, {**DATA_SPACE, "sampling": {"name": "latent-ld"}})
    assert apart["sampling"]["name"] == "latent-ld", "what is named is not overruled"
    kept = recipes.merge(base, {"sampler": {"name": "latent-ld", "steps": 5}})
    assert kept["sampling"] == {"target": "official", "steps": 3}


def test_a_folder_called_like_a_recipe_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    assert recipes.read("digits") == tomllib.loads(recipes.shipped()["digits"])
