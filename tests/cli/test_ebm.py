"""`vaebm run` and `vaebm sample` in data space: an energy alone, and chains from a generator's samples."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Vaebm

EBM = [
    "--trainer", "ebm", "--energy", "igebm", "--energy.width", "4", "--sampler", "data-ld",
    "--sampler.steps", "2", "--sampling.steps", "3", "--trainer.steps", "4", "--trainer.batch-size", "16",
    "--trainer.log-every", "2", "--evaluate.samples", "20", "--dataset.limit", "200", "--quiet",
    "--log.report", "false",
]  # fmt: skip
FROM_GENERATOR = [
    "--trainer.start", "generator", "--generator.channels", "4", "--generator.groups", "1",
    "--generator.latent", "2", "--pretrain.epochs", "1", "--pretrain.bn-passes", "1",
]  # fmt: skip

VECTORS = [
    "--dataset", "gaussians25", "--trainer", "ebm", "--sampler", "data-ld", "--sampler.steps", "2",
    "--sampling.steps", "2", "--trainer.steps", "2", "--evaluate.samples", "20", "--quiet",
    "--log.report", "false",
]  # fmt: skip


def images(file: str) -> np.ndarray:
    return np.load(file)["images"].astype(int)


@pytest.mark.parametrize("advance", ["training", "always"])
def test_an_energy_alone(vaebm: Vaebm, advance: str) -> None:
    called = vaebm("run", *EBM, "--energy.advance", advance, "--out", "r")
    assert called.code == 0, called.err
    rows = [line.split("\t") for line in called.out.splitlines()]
    assert rows[1][0] == "ebm"
    assert "decoder none, data-ld, 3 steps" in called.out
    assert not Path("r/pretrain").exists()
    recipe = tomllib.loads(Path("r/recipe.toml").read_text())
    assert not {"generator", "pretrain"} & set(recipe)
    log = [json.loads(line) for line in Path("r/log.jsonl").read_text().splitlines()]
    assert {"energy_gap", "energy_data", "chain_log_prob", "chain_reused"} <= set(log[-1])
    for size in ("7", "2"):
        assert vaebm("sample", "r", "-n", "7", "--batch-size", size, "--out", f"{size}.npz").code == 0
    vaebm("sample", "r", "-n", "3", "--first", "4", "--out", "late.npz")
    assert np.abs(images("7.npz") - images("2.npz")).max() <= 1
    assert np.abs(images("7.npz")[4:] - images("late.npz")).max() <= 1
    assert vaebm("sample", "r", "-n", "4", "--out", "grid.png").code == 0
    assert Image.open("grid.png").size[0] > 50
    called = vaebm("sample", "r", "--generator-only")
    assert called.code != 0
    assert "r has no generator: it is an energy alone." in called.err


def test_chains_from_a_generators_samples(vaebm: Vaebm) -> None:
    called = vaebm("run", *EBM, *FROM_GENERATOR, "--out", "r")
    assert called.code == 0, called.err
    assert [line.split("\t")[0] for line in called.out.splitlines()[1:3]] == ["generator", "ebm"]
    assert Path("r/pretrain/networks.safetensors").exists()
    assert vaebm("sample", "r", "-n", "4", "--out", "x.npz").code == 0
    assert vaebm("sample", "r", "-n", "4", "--generator-only", "--out", "g.npz").code == 0
    assert np.abs(images("x.npz") - images("g.npz")).max() > 0
    called = vaebm("run", "--generator-from", "r", "--evaluate.samples", "8", "--quiet", "--out", "s")
    assert called.code == 0, called.err
    assert vaebm("sample", "s", "-n", "2").code == 0


def test_vectors(vaebm: Vaebm) -> None:
    called = vaebm("run", *VECTORS, "--out", "r")
    assert called.code == 0, called.err
    assert vaebm("sample", "r", "-n", "4", "--out", "x.npz").code == 0
    called = vaebm("sample", "r", "-n", "4", "--out", "x.png")
    assert "vectors" in called.err


def test_the_published_setting_is_counted(vaebm: Vaebm) -> None:
    called = vaebm("run", "--recipe", "igebm-cifar10", "--dry-run")
    assert "# energy igebm: 5,134,593 parameters" in called.out
    assert "GFLOP per step" in called.out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--trainer", "ebm"], ["data space", "--sampler data-ld"]),
        (["--recipe", "igebm-cifar10", "--trainer.start", "generator"],
         ["with trainer.start = generator", "--generator NAME"]),
        (["--trainer", "ebm", "--sampler", "data-ld", "--generator", "none", "--trainer.start", "generator"],
         ["cannot do without one", "--generator NAME"]),
        (["--trainer", "ebm", "--sampler", "data-ld", "--sampling", "latent-ld"], ["--sampling data-ld"]),
        (["--energy", "igebm", "--dataset.pad", "2"], ["12×12", "16×16"]),
        (["--energy", "igebm", "--dataset", "gaussians25"], ["--energy mlp"]),
        (["--energy", "igebm", "--energy.label", "1"], ["energy.label", "--energy.classes 10"]),
        (["--trainer.start", "noises", "--trainer", "ebm"], ["trainer.start", "noise | generator"]),
    ],
)  # fmt: skip
def test_wrong_input_gets_one_clear_message(vaebm: Vaebm, flags: list[str], words: list[str]) -> None:
    called = vaebm("run", *flags, "--out", "r", "--quiet")
    assert called.code != 0
    for word in words:
        assert word in called.err
    assert not Path("r").exists()


def test_a_trained_generator_for_chains_from_noise(vaebm: Vaebm, finished: Path) -> None:
    called = vaebm("run", "--generator-from", finished, *EBM, "--out", "r")
    assert called.code != 0
    assert "--trainer.start generator" in called.err
    assert not Path("r").exists()


def test_a_chain_that_diverges_at_test_time(vaebm: Vaebm) -> None:
    called = vaebm("run", *VECTORS, "--sampling.noise-scale", "3e38", "--out", "r")
    assert called.code != 0
    assert "not finite" in called.err
    assert "vaebm run --recipe r/recipe.toml --sampling.step-size" in called.err
