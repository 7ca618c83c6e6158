"""`vaebm run`, from its flags to its table."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from .conftest import TINY, Vaebm


def test_a_run_ends_with_table_pictures_and_next_command(vaebm: Vaebm) -> None:
    called = vaebm("run", *TINY, "--out", "r")
    assert called.code == 0
    rows = [line.split("\t") for line in called.out.splitlines()]
    assert rows[0][:2] == ["model", "frechet"]
    assert [r[0] for r in rows[1:3]] == ["generator", "vaebm"]
    for name in ("data", "generator", "vaebm"):
        assert Image.open(f"r/samples/{name}.png").size[0] > 100
    assert called.out.splitlines()[-1].startswith("Next: vaebm sample r ")
    assert "implied temperature" in called.err
    assert "train 4/4" in called.err
    assert "energy gap" in called.err


def test_run_directory_holds_what_it_promises(finished: Path) -> None:
    recipe = tomllib.loads((finished / "recipe.toml").read_text())
    assert recipe["generator"]["channels"] == 4
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["torch"]
    assert "vaebm-nvae" in environment["plugins"]
    log = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert {r["stage"] for r in log} == {"setup", "pretrain", "train"}
    assert log[0]["sampler.temperature"] == pytest.approx(1.0)
    assert [r["step"] for r in log if r["stage"] == "train"] == [2, 4]
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["protocol"]["samples"] == 20
    assert metrics["protocol"]["frechet"]["features"] == "pixels"
    assert not list(finished.rglob("*.pkl")) + list(finished.rglob("*.pt"))


def test_same_seed_same_run_other_seed_other_run(vaebm: Vaebm, finished: Path) -> None:
    for name, seed in (("same", "0"), ("other", "1")):
        assert vaebm("run", *TINY, "--quiet", "--seed", seed, "--out", name).code == 0
    networks = (finished / "train/networks.safetensors").read_bytes()
    assert Path("same/train/networks.safetensors").read_bytes() == networks
    assert Path("other/train/networks.safetensors").read_bytes() != networks


def test_quiet_prints_only_the_result(vaebm: Vaebm) -> None:
    called = vaebm("run", *TINY, "--quiet", "--out", "r")
    assert called.err == ""
    assert called.out.startswith("model\t")


def test_generator_from_skips_the_first_stage(vaebm: Vaebm, finished: Path) -> None:
    called = vaebm("run", "--generator-from", finished, "--energy.width", "4", "--trainer.steps", "2",
                   "--evaluate.samples", "10", "--out", "r")  # fmt: skip
    assert called.code == 0
    assert "pretrain:" not in called.err
    stored = (finished / "pretrain/networks.safetensors").read_bytes()
    assert Path("r/pretrain/networks.safetensors").read_bytes() == stored
    assert vaebm("sample", "r", "-n", "2").code == 0
    taken = tomllib.loads(Path("r/recipe.toml").read_text())
    assert taken["sampler"]["steps"] == 2, "what is not given is as in the run"
    assert taken["trainer"]["steps"] == 2


def test_generator_from_other_data(vaebm: Vaebm, finished: Path) -> None:
    called = vaebm("run", "--generator-from", finished, "--dataset.pad", "4", "--out", "r")
    assert called.code != 0
    assert "does not fit" in called.err


def test_generator_from_a_run_without_one(vaebm: Vaebm, finished: Path) -> None:
    shutil.copytree(finished, "half")
    shutil.rmtree("half/pretrain")
    called = vaebm("run", "--generator-from", "half")
    assert called.code != 0
    assert "has no trained generator" in called.err
    assert "vaebm run --resume half" in called.err


def test_generator_alone(vaebm: Vaebm) -> None:
    called = vaebm("run", "--generator.channels", "4", "--generator.groups", "1", "--pretrain.epochs", "1",
                   "--evaluate.samples", "20", "--dataset.limit", "200", "--trainer", "none",
                   "--log.report", "false", "--out", "r")  # fmt: skip
    assert called.code == 0, called.err
    assert called.out.splitlines()[1].startswith("generator\t")
    assert vaebm("sample", "r", "-n", "2").code == 0


def test_resume_of_a_finished_run_repeats_its_table(vaebm: Vaebm, finished: Path) -> None:
    shutil.copytree(finished, "r")
    before = json.loads(Path("r/metrics.json").read_text())
    assert vaebm("run", "--resume", "r", "--quiet").code == 0
    assert json.loads(Path("r/metrics.json").read_text()) == before


def test_resume_refuses_other_settings(vaebm: Vaebm, finished: Path) -> None:
    called = vaebm("run", "--resume", finished, "--trainer.steps", "9")
    assert called.code != 0
    assert "--trainer.steps cannot be given" in called.err
    assert "vaebm run --recipe" in called.err


def test_dry_run_prints_a_recipe_that_gives_itself(vaebm: Vaebm) -> None:
    first = vaebm("run", *TINY, "--dry-run")
    assert "# energy resnet: " in first.out
    assert "of memory" in first.out
    Path("again.toml").write_text(first.out)
    second = vaebm("run", "--recipe", "again.toml", "--dry-run")
    assert second.out == first.out
    assert not Path("runs").exists()


def test_a_dry_run_says_whether_a_device_is_large_enough(vaebm: Vaebm) -> None:
    assert "fits a device of 1.0 GiB" in vaebm("run", *TINY, "--dry-run", "--memory", "1GiB").out
    alone = vaebm("run", *TINY, "--memory", "1GiB")
    assert alone.code != 0
    assert "Add --dry-run" in alone.err
    assert "16GiB or 80GB" in vaebm("run", *TINY, "--dry-run", "--memory", "some").err


def test_bf16_runs(vaebm: Vaebm) -> None:
    assert vaebm("run", *TINY, "--precision", "bf16", "--quiet", "--out", "r").code == 0
    log = [json.loads(line) for line in Path("r/log.jsonl").read_text().splitlines()]
    assert all(isinstance(r.get("energy_loss", 0.0), float) for r in log)


def test_tensorboard_files_are_written(vaebm: Vaebm) -> None:
    pytest.importorskip("tensorboard", reason="an optional dependency")
    assert vaebm("run", *TINY, "--quiet", "--tensorboard", "--out", "r").code == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator("r/tensorboard").Reload()
    assert [e.step for e in events.Scalars("train/energy_gap")] == [2, 4]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--generator", "nvea"], ['no generator called "nvea"', 'Did you mean "nvae"']),
        (["--sampler", "nope"], ['no sampler called "nope"', "vaebm plugins list sampler"]),
        (["--sampler.stepsize", "1"], ["--sampler.stepsize", "--sampler.step-size"]),
        (["--sampler.step-size", "small"], ["sampler.step_size", "not a number"]),
        (["--sampler.step-size", "-1"], ["sampler.step_size", "greater than 0"]),
        (["--trainer.steps", "1.5"], ["trainer.steps", "whole number"]),
        (["--sampler.target", "paper"], ["sampler.target", "exact | official"]),
        (["--sampler.clamp", "perhaps"], ["sampler.clamp", "true | false"]),
        (["--dataset", "npz", "--dataset.path", "gone.npz"], ["gone.npz"]),
        (["--recipe", "gone.toml"], ["gone.toml", "vaebm recipes list"]),
        (["--recipe", "digit"], ['Did you mean "digits"']),
        (["--generator", "none"], ["cannot do without one", "vaebm plugins list generator"]),
        (["--sampling", "data-ld"], ["data space", "--sampling latent-ld"]),
        (["--sampler", "data-ld"], ["latent space", "--sampler latent-ld"]),
        (["--pretrain.batch-size", "100000"], ["1437", "--pretrain.batch-size"]),
        (["--device", "cuda:99"], ["cuda:99", "--device cpu"]),
        (["--dataset", "gaussians25", "--generator", "nvae"], ["--generator mlp"]),
        (["--dataset", "gaussians25", "--energy", "resnet", "--pretrain.steps", "1"], ["--energy mlp"]),
        (["--generator.scales", "3"], ["8 x 8", "--generator.scales"]),
        (["--generator-from", "nowhere"], ["nowhere does not exist"]),
        (["--resume", "nowhere"], ["nowhere does not exist", "vaebm run --out nowhere"]),
    ],
)
def test_wrong_input_gets_one_clear_message(vaebm: Vaebm, flags: list[str], words: list[str]) -> None:
    called = (
        vaebm("run", *flags, "--out", "r", "--quiet") if "--resume" not in flags else vaebm("run", *flags)
    )
    assert called.code != 0
    for word in words:
        assert word in called.err


def test_wrong_recipe_files(vaebm: Vaebm) -> None:
    for text, words in (
        ("[sampler\n", ["not TOML", "vaebm recipes show"]),
        ("[sampelr]\nsteps = 1\n", ["[sampelr]", 'Did you mean "sampler"']),
        ("[sampler]\nstep_siz = 1\n", ["sampler.step_siz", 'Did you mean "step_size"']),
        ("[sampler]\nstep_size = true\n", ["sampler.step_size", "not a number"]),
        ("sampler = 3\n", ["sampler must be a table"]),
    ):
        Path("x.toml").write_text(text)
        called = vaebm("run", "--recipe", "x.toml")
        assert called.code == 2
        for word in words:
            assert word in called.err


def test_a_run_that_cannot_start_leaves_nothing(vaebm: Vaebm, finished: Path) -> None:
    for flags in (["--dataset", "npz", "--dataset.path", "gone.npz"], ["--generator.scales", "3"],
                  ["--sampler", "data-ld"], ["--trainer.batch-size", "5000"],
                  ["--generator-from", str(finished), "--dataset.pad", "4"]):  # fmt: skip
        assert vaebm("run", *flags).code != 0
        assert not Path("runs").exists(), flags


@pytest.mark.parametrize("flag", ["--generator.channels", "--pretrain.steps"])
def test_a_trained_generator_keeps_its_options(vaebm: Vaebm, finished: Path, flag: str) -> None:
    called = vaebm("run", "--generator-from", finished, flag, "9")
    assert called.code != 0
    assert f"{flag} cannot be given" in called.err


def test_unknown_metrics_are_refused_before_training(vaebm: Vaebm) -> None:
    called = vaebm("run", "--evaluate.metrics", "frechett", "--dry-run")
    assert called.code != 0
    assert 'no metric called "frechett"' in called.err


def test_a_chain_that_diverges_at_test_time(vaebm: Vaebm) -> None:
    called = vaebm("run", *TINY, "--sampling.step-size", "1e38", "--out", "with space")
    assert called.code != 0
    assert "not finite" in called.err
    assert "--generator-from 'with space'" in called.err


def test_options_of_another_part(vaebm: Vaebm) -> None:
    called = vaebm("run", "--energy", "mlp", "--energy.layout", "auto")
    assert called.code != 0
    assert '--energy.layout: the energy "mlp" has no such option' in called.err
    assert "vaebm plugins show energy/mlp" in called.err


def test_a_path_that_does_not_exist_lists_the_runs_nearby(vaebm: Vaebm, finished: Path) -> None:
    shutil.copytree(finished, "runs/0001-digits")
    called = vaebm("run", "--resume", "runs/0002-digits")
    assert "runs/0002-digits does not exist" in called.err
    assert "runs/0001-digits" in called.err


def test_a_second_recipe_lies_over_the_first_and_flags_over_both(vaebm: Vaebm) -> None:
    out = vaebm("run", "--recipe", "digits", "--recipe", "official", "--sampler.steps", "3", "--dry-run").out
    tables = tomllib.loads(out)
    assert (tables["sampler"]["target"], tables["sampler"]["steps"]) == ("official", 3)
    assert tables["dataset"]["name"] == "digits"
    assert tables["sampler"]["step_size"] == 0.01


def test_an_option_set_alone_lies_over_the_data_sets_own_recipe(vaebm: Vaebm) -> None:
    own = tomllib.loads(vaebm("run", "--dataset", "mnist", "--dry-run").out)
    over = tomllib.loads(vaebm("run", "--dataset", "mnist", "--recipe", "paper", "--dry-run").out)
    assert over["pretrain"] == {**own["pretrain"], "bn_passes": 500, "bn_batch_size": 16}
    assert over["generator"] == own["generator"]


def test_a_generator_with_a_discrete_head_is_refused_for_chains(vaebm: Vaebm) -> None:
    result = vaebm("run", *TINY, "--generator.head", "logistic", "--out", "r")
    assert result.code == 2
    assert "no chain in ε-space can follow an energy of x" in result.err
    assert "--generator.head gaussian" in result.err
    assert not Path("r").exists()


def test_a_bernoulli_head_needs_binary_data(vaebm: Vaebm) -> None:
    flags = ["--generator.channels", "4", "--generator.head", "bernoulli", "--trainer", "none"]
    result = vaebm("run", *flags, "--out", "r")
    assert result.code == 2
    assert "--dataset.binarise true" in result.err
    assert not Path("r").exists()


def test_binary_mnist_with_a_bernoulli_head_from_run_to_likelihood(vaebm: Vaebm) -> None:
    rng = np.random.default_rng(0)
    Path("data").mkdir()
    for split in ("train", "test"):
        np.savez(f"data/{split}.npz", images=rng.integers(0, 256, (40, 28, 28), dtype=np.uint8))
    small = [
        "--generator.channels", "4", "--generator.groups", "1", "--generator.latent", "2",
        "--pretrain.epochs", "1", "--pretrain.batch-size", "8", "--evaluate.samples", "8",
        "--log.report", "false", "--out", "r",
    ]  # fmt: skip
    called = vaebm("run", "--recipe", "nvae-mnist-small", "--dataset.root", "data", *small)
    assert called.code == 0, called.err
    called = vaebm("likelihood", "r", "--importance", "2", "--importance-count", "4")
    assert called.code == 0, called.err
    assert "probability of binary images" in called.out
    assert vaebm("sample", "r", "-n", "4", "--temperature", "0.7", "--out", "x.npz").code == 0
    assert vaebm("latents", "reconstruct", "r", "-n", "4", "--out", "x.png").code == 0


def test_runs_in_the_plane_end_with_a_log_likelihood_and_a_picture_of_the_density(vaebm: Vaebm) -> None:
    small = "--dataset.train-size 300 --dataset.test-size 60 --generator.width 8 --energy.width 8"
    short = "--pretrain.steps 2 --pretrain.batch-size 16 --trainer.steps 2 --trainer.batch-size 16"
    end = "--sampling.steps 2 --evaluate.samples 20 --out r"
    assert vaebm("run", "--dataset", "gaussians25", *f"{small} {short} {end}".split()).code == 0
    metrics = json.loads(Path("r/metrics.json").read_text())
    for model in ("generator", "vaebm"):
        assert -1e4 < metrics["figures"][model]["log-likelihood"] < -1.4
    assert metrics["protocol"]["density"]["truth"] == -1.4516
    with Image.open("r/samples/samples.png") as picture:
        assert picture.width == 4 * (320 + 14) + 14
    assert Path("r/report.html").is_file()


@pytest.mark.parametrize("trainer", ["wgan", "vaebm-kl"])
def test_energy_from_a_run_that_moved_its_generator_goes_on_with_that(vaebm: Vaebm, trainer: str) -> None:
    pair = ["--generator", "mlp", "--generator.width", "8", "--energy", "mlp", "--energy.width", "8"]
    stage = [
        "--pretrain.steps",
        "3",
        "--dataset.limit",
        "80",
        "--evaluate.samples",
        "8",
        "--log.report",
        "false",
        "--trainer",
        trainer,
    ]
    chain = ["--buffer", "none"] if trainer == "vaebm-kl" else []
    assert vaebm("run", *pair, *stage, *chain, "--trainer.steps", "3", "-q", "--out", "a").code == 0
    called = vaebm("run", "--energy-from", "a", "--trainer.steps", "0", "-q", "--out", "b")
    assert called.code == 0, called.err
    a, b = (load_file(f"{run}/train/networks.safetensors") for run in "ab")
    assert any(name.startswith("generator/") for name in a)
    assert all(torch.equal(a[name], b[name]) for name in a)
    first = load_file("a/pretrain/networks.safetensors")
    assert any(
        not torch.equal(a[name], first[name]) for name in first if name.startswith("generator/decoder")
    )
