"""`vaebm import` of files as they should be: they become runs to sample, build on and train further."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vaebm_igebm.options import ResNetOptions
from vaebm_igebm.released import layout_of, signature
from vaebm_igebm.resnet import build as build_resnet
from vaebm_toolkit.training.checkpoint import read_state

from .conftest import Vaebm
from .released import energy_file, igebm_file, images, nvae_file

STEPS = ["--trainer.steps", "4", "--trainer.batch-size", "8", "--trainer.checkpoint-every", "2",
         "--sampler.steps", "2", "--sampling.steps", "2", "--evaluate.samples", "8",
         "--log.report", "false"]  # fmt: skip
DATA = ["--dataset", "npz", "--dataset.path", "images.npz"]


def recipe(run: str) -> dict[str, Any]:
    return tomllib.loads(Path(run, "recipe.toml").read_text())


def kept(run: str, stage: str, name: str) -> dict[str, Tensor]:
    flat = load_file(f"{run}/{stage}/networks.safetensors")
    return {k.removeprefix(f"{name}/"): v for k, v in flat.items() if k.startswith(f"{name}/")}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert set(a) == set(b)
    for name, value in a.items():
        assert torch.equal(value, b[name].detach()), name


# the generator


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-1.6"])
def test_an_nvae_becomes_a_run(vaebm: Vaebm, legacy: bool) -> None:
    checkpoint = nvae_file(legacy=legacy)
    called = vaebm("import", "nvae", "checkpoint.pt", "--out", "r")
    assert called.code == 0, called.err
    assert "generator nvae: " in called.out
    assert "training step 4321" in called.out
    assert called.out.splitlines()[-1] == "Next: vaebm sample r --count 64 --out samples.png"
    assert "second copies of weights" in called.err
    weights = {k: v for k, v in checkpoint["state_dict"].items() if not k.endswith("weight_normalized")}
    assert_same(kept("r", "pretrain", "generator"), weights)
    done = json.loads(Path("r/pretrain/done.json").read_text())
    assert done["step"] == 4321
    assert len(done["sha256"]) == 64
    assert done["importer"] == "nvae"
    tables = recipe("r")
    assert tables["generator"]["prior"] == "official"
    assert tables["pretrain"]["epochs"] == 7
    assert tables["pretrain"]["batch_size"] == 128, "8 processes of 16"
    assert tables["pretrain"]["spectral_bn_start"] == 10.0
    assert tables["trainer"]["name"] == "none"
    assert vaebm("sample", "r", "-n", "3", "--out", "x.npz").code == 0
    assert np.load("x.npz")["images"].shape == (3, 32, 32, 3)
    assert not list(Path("r").rglob("*.pt"))


def test_an_energy_stage_on_an_imported_nvae(vaebm: Vaebm) -> None:
    nvae_file()
    images()
    assert vaebm("import", "nvae", "checkpoint.pt", "--out", "g", "--quiet").err == ""
    called = vaebm("run", "--generator-from", "g", *DATA, *STEPS, "--energy.width", "2", "--out", "r")
    assert called.code == 0, called.err
    assert [line.split("\t")[0] for line in called.out.splitlines()[:3]] == ["model", "generator", "vaebm"]
    assert_same(kept("r", "pretrain", "generator"), kept("g", "pretrain", "generator"))
    assert vaebm("sample", "r", "-n", "2", "--out", "x.npz").code == 0


def test_the_second_stage_is_the_data_sets_own_unless_it_is_refused(vaebm: Vaebm) -> None:
    nvae_file()
    vaebm("import", "nvae", "checkpoint.pt", "--out", "g")
    dry = tomllib.loads(vaebm("run", "--generator-from", "g", "--energy.width", "3", "--dry-run").out)
    own = tomllib.loads(vaebm("recipes", "show", "cifar10").out)
    assert dry["trainer"]["steps"] == own["trainer"]["steps"]
    assert dry["sampler"]["step_size"] == own["sampler"]["step_size"]
    assert dry["energy"]["width"] == 3
    assert dry["generator"]["channels"] == 4
    alone = tomllib.loads(vaebm("run", "--generator-from", "g", "--trainer", "none", "--dry-run").out)
    assert alone["trainer"] == {"name": "none"}
    assert "energy" not in alone


def test_older_files(vaebm: Vaebm) -> None:
    """Without the later arguments, with the prefix of data-parallel training, with stale buffers."""
    checkpoint = nvae_file()
    args = vars(checkpoint["args"])
    for name in ("ada_groups", "min_groups_per_scale", "num_mixture_dec"):
        del args[name]
    state = checkpoint["state_dict"]
    state["stem.weight_normalized"] = torch.zeros_like(state["stem.weight"])
    checkpoint["state_dict"] = {f"module.{k}": v for k, v in state.items()}
    torch.save(checkpoint, "old.pt")
    called = vaebm("import", "nvae", "old.pt", "--out", "r")
    assert called.code == 0, called.err
    assert recipe("r")["generator"]["head"] == "gaussian"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dataset": "mnist"}, {"dataset.name": "mnist", "dataset.binarise": True, "generator.pad": 2,
                                "generator.head": "bernoulli"}),
        ({"dataset": "celeba_64", "num_x_bits": 5}, {"dataset.name": "celeba", "dataset.size": 64,
                                                     "dataset.bits": 5, "generator.bits": 5}),
        ({"num_mixture_dec": 3}, {"generator.head": "logistic-mixture", "generator.mixtures": 3}),
        ({"num_nf": 1, "num_latent_scales": 2}, {"generator.flows": 1, "generator.scales": 2}),
        ({"num_groups_per_scale": 1}, {"generator.groups": 1}),
        ({"arch_instance": "res_bnswish"}, {"generator.cells": "res_bnswish"}),
    ],
    ids=["mnist", "celeba-5-bits", "mixture", "flows", "vanilla", "arch"],
)  # fmt: skip
def test_variants(vaebm: Vaebm, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    nvae_file(**changes)
    called = vaebm("import", "nvae", "checkpoint.pt", "--out", "r")
    assert called.code == 0, called.err
    tables = recipe("r")
    for path, value in expected.items():
        table, _, key = path.partition(".")
        assert tables[table][key] == value, path
    assert vaebm("sample", "r", "-n", "2", "--out", "x.npz").code == 0


def test_batch_norm_is_recalibrated_once(vaebm: Vaebm) -> None:
    nvae_file()
    vaebm("import", "nvae", "checkpoint.pt", "--out", "a")
    called = vaebm("import", "nvae", "checkpoint.pt", "--out", "b", "--bn-passes", "3",
                   "--bn-temperature", "0.7", "--bn-batch-size", "4")  # fmt: skip
    assert called.code == 0, called.err
    before, after = kept("a", "pretrain", "generator"), kept("b", "pretrain", "generator")
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed
    assert all("running" in k or "num_batches" in k for k in changed), "weights are as they were"
    assert not [k for k in changed if k.startswith(("pre_process", "enc"))], "the decoder's path alone"
    stage = recipe("b")["pretrain"]
    assert (stage["bn_passes"], stage["bn_temperature"], stage["bn_batch_size"]) == (3, 0.7, 4)
    again = vaebm("import", "nvae", "checkpoint.pt", "--out", "c", "--bn-passes", "3.5")
    assert "--bn-passes" in again.err
    assert "whole number" in again.err


# energies


def test_an_energy_alone_is_a_density_of_images(vaebm: Vaebm) -> None:
    checkpoint = energy_file()
    called = vaebm("import", "energy", "EBM_1500.pth", "--out", "e")
    assert called.code == 0, called.err
    assert "to correct a generator" in called.err
    assert "--generator-from" in called.err
    tables = recipe("e")
    assert (tables["trainer"]["name"], tables["sampler"]["name"]) == ("ebm", "data-ld")
    assert (tables["energy"]["width"], tables["energy"]["layout"]) == (2, "cifar10")
    assert "generator" not in tables
    assert json.loads(Path("e/train/done.json").read_text())["step"] == 1500
    assert_same(kept("e", "train", "energy"), checkpoint["model"])
    assert vaebm("sample", "e", "-n", "2", "--out", "x.npz").code == 0


def test_an_energy_beside_its_generator_is_a_vaebm(vaebm: Vaebm) -> None:
    nvae_file()
    energy_file()
    vaebm("import", "nvae", "checkpoint.pt", "--out", "g")
    called = vaebm("import", "energy", "EBM_1500.pth", "--generator-from", "g", "--out", "r")
    assert called.code == 0, called.err
    assert "to correct a generator" not in called.err
    tables = recipe("r")
    assert (tables["sampler"]["target"], tables["sampler"]["step_size"]) == ("official", 8e-5)
    assert (tables["sampler"]["steps"], tables["sampling"]["steps"]) == (10, 16)
    assert (tables["trainer"]["name"], tables["trainer"]["lr"]) == ("vaebm", 5e-5)
    vaebm("sample", "r", "-n", "2", "--out", "a.npz")
    vaebm("sample", "r", "-n", "2", "--generator-only", "--out", "b.npz")
    assert np.load("a.npz")["images"].shape == (2, 32, 32, 3)
    assert vaebm("import", "nvae", "checkpoint.pt", "--generator-from", "g", "--out", "x").code != 0


@pytest.mark.parametrize("layout", ["mnist", "cifar10", "celeba64", "lsun64", "celebahq256"])
def test_layouts_are_told_apart_by_widths_and_skips(layout: str) -> None:
    state = build_resnet(ResNetOptions(width=2, layout=layout), (3, 256, 256)).state_dict()
    assert layout_of(state, 2, Path("x")) == layout
    assert [n for n in ("mnist", "cifar10", "celeba64", "lsun64", "celebahq256")
            if signature(n) == signature(layout)] == [layout]  # fmt: skip


def test_a_plain_state_dict_of_an_energy(vaebm: Vaebm) -> None:
    state = energy_file(layout="celeba64")["model"]
    torch.save(state, "plain.pt")
    called = vaebm("import", "energy", "plain.pt", "--out", "r")
    assert called.code == 0, called.err
    assert recipe("r")["dataset"]["name"] == "celeba"
    assert not list(Path("r/train").glob("step-*")), "no optimiser state to go on with"


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("classes", [None, 3])
def test_an_igebm_becomes_a_run(vaebm: Vaebm, classes: int | None, wrapped: bool) -> None:
    state = igebm_file(classes=classes, wrapped=wrapped)
    called = vaebm("import", "igebm", "igebm.pt", "--out", "r")
    assert called.code == 0, called.err
    assert "16 normalised weights replace the trained ones" in called.err
    tables = recipe("r")
    assert tables["energy"]["advance"] == "always"
    assert tables["energy"]["classes"] == (classes or "none")
    assert (tables["sampler"]["steps"], tables["sampler"]["step_size"]) == (60, 20.0)
    stored = torch.load("igebm.pt", weights_only=True)
    stored = next((stored[k] for k in ("model", "state_dict") if k in stored), stored)
    loaded = {k: stored.get(k.removesuffix("_orig"), v) for k, v in state.items()}
    assert loaded.keys() == state.keys()
    assert_same(kept("r", "train", "energy"), loaded)
    assert vaebm("sample", "r", "-n", "2", "--out", "x.npz").code == 0
    assert vaebm("import", "igebm", "igebm.pt", "--weights", "trained", "--out", "t").code == 0
    assert_same(kept("t", "train", "energy"), state)


# going on


def moments(run: str, step: int) -> dict[int, Any]:
    state, _ = read_state(Path(run, "train", f"step-{step:08d}"))
    return state["optimizers"]["energy"]["state"]


def test_an_imported_energy_goes_on_with_its_optimiser(vaebm: Vaebm) -> None:
    nvae_file()
    checkpoint = energy_file()
    images()
    vaebm("import", "nvae", "checkpoint.pt", "--out", "g")
    vaebm("import", "energy", "EBM_1500.pth", "--generator-from", "g", "--out", "e")
    called = vaebm("run", "--energy-from", "e", *DATA, *STEPS, "--out", "r")
    assert called.code == 0, called.err
    assert "from training step 1500, its optimiser goes on" in called.err
    assert "generator nvae" in called.err, "the energy's own generator"
    state, _ = read_state(Path("r/train/step-00000000"))
    assert_same(state["players"]["energy"], checkpoint["model"])
    for index, given in checkpoint["optimizer"]["state"].items():
        for key, value in given.items():
            assert torch.equal(moments("r", 0)[index][key], value)
    assert float(moments("r", 4)[0]["step"]) == 5.0
    shutil.copytree("r", "cut")
    for gone in ("done.json", "networks.safetensors"):
        Path("cut/train", gone).unlink()
    for step in (2, 4):
        shutil.rmtree(f"cut/train/step-{step:08d}")
    resumed = vaebm("run", "--resume", "cut", "--quiet")
    assert resumed.code == 0, resumed.err
    assert_same(kept("cut", "train", "energy"), kept("r", "train", "energy"))


def test_an_energy_of_our_own_goes_on(vaebm: Vaebm, finished: Path) -> None:
    called = vaebm("run", "--energy-from", finished, "--trainer.steps", "2", "--evaluate.samples", "8",
                   "--out", "r")  # fmt: skip
    assert called.code == 0, called.err
    stored, _ = read_state(finished / "train/step-00000004")
    assert float(moments("r", 0)[0]["step"]) == 4.0
    started, _ = read_state(Path("r/train/step-00000000"))
    assert_same(started["players"]["energy"], stored["players"]["energy"])
    assert_same(kept("r", "pretrain", "generator"), kept(str(finished), "pretrain", "generator"))


def test_an_energy_without_optimiser_state_goes_on(vaebm: Vaebm) -> None:
    igebm_file()
    images()
    vaebm("import", "igebm", "igebm.pt", "--out", "e")
    called = vaebm("run", "--energy-from", "e", *DATA, *STEPS, "--out", "r")
    assert called.code == 0, called.err
    assert "with a new optimiser" in called.err
    assert moments("r", 0) == {}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--dataset.path", "grey.npz"], ["conv1.weight (2, 3, 3, 3), not (2, 1, 3, 3)", "data.json"]),
        (["--energy", "mlp"], ['an energy "resnet", not "mlp"']),
        (["--energy.width", "3"], ["--energy.width cannot be given"]),
        (["--trainer", "none"], ["the trainer is none"]),
        (["--energy-from", "nowhere"], ["nowhere does not exist"]),
        (["--energy-from", "g"], ["g has no energy"]),
    ],
    ids=lambda v: v[0] if v[0].startswith("--") else "",
)
def test_energies_that_cannot_go_on(vaebm: Vaebm, flags: list[str], words: list[str]) -> None:
    nvae_file()
    energy_file()
    images()
    images(1, "grey.npz")
    vaebm("import", "nvae", "checkpoint.pt", "--out", "g")
    vaebm("import", "energy", "EBM_1500.pth", "--out", "e")
    called = vaebm("run", "--energy-from", "e", *DATA, *flags, "--out", "out")
    assert called.code != 0
    for word in words:
        assert word in called.err, called.err
    assert not Path("out").exists()


# plugins, help, arguments


def test_help_and_lists(vaebm: Vaebm) -> None:
    group = vaebm("import", "--help")
    assert group.code == 0
    for name in ("nvae", "energy", "igebm"):
        assert f"  {name} " in group.out
        shown = vaebm("import", name, "--help").out
        assert f"import {name} [OPTIONS] CHECKPOINT" in shown
        assert "--generator-from RUN" in shown
        assert "nothing in the file is run" in shown
        assert f"importer\t{name}\t" in vaebm("plugins", "list", "importer").out
    assert "--bn-passes VALUE" in vaebm("import", "nvae", "--help").out
    assert "--bn-passes\twhole number\t0" in vaebm("plugins", "show", "importer/nvae").out
    assert "vaebm import igebm CHECKPOINT" in vaebm("plugins", "show", "importer/igebm").out


def test_wrong_calls(vaebm: Vaebm) -> None:
    nvae_file()
    for flags, words in (
        (["nvea", "checkpoint.pt"], 'Did you mean "nvae"'),
        (["checkpoint.pt"], "Say which code wrote checkpoint.pt"),
        (["nvae"], "Missing argument"),
        (["nvae", "checkpoint.pt", "--bn-pases", "3"], "--bn-passes"),
        (["nvae", "checkpoint.pt", "--bn-passes", "-1"], "at least 0"),
        (["nvae", "checkpoint.pt", "--device", "cuda:99"], "cuda:99"),
        (["energy", "checkpoint.pt", "--generator-from", "nowhere"], "nowhere does not exist"),
    ):
        called = vaebm("import", *flags)
        assert called.code != 0
        assert words in called.err, called.err
    assert not Path("runs").exists()


def test_a_taken_folder_is_left_as_it_is(vaebm: Vaebm) -> None:
    nvae_file()
    assert vaebm("import", "nvae", "checkpoint.pt").out.splitlines()[1].startswith("runs/0001-nvae: ")
    before = sorted(p.stat().st_mtime_ns for p in Path("runs").rglob("*"))
    called = vaebm("import", "nvae", "checkpoint.pt", "--out", "runs/0001-nvae")
    assert "already holds a run" in called.err
    assert sorted(p.stat().st_mtime_ns for p in Path("runs").rglob("*")) == before
