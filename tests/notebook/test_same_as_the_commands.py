"""What Python gives is what the commands give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaebm_toolkit as vt
from vaebm_toolkit.core import RowStreams, run_chain, standard_normal, stream
from vaebm_toolkit.training import estimate

from ..cli.conftest import Vaebm, vaebm  # noqa: F401  a fixture
from .conftest import FLAGS, TINY


@pytest.mark.parametrize(
    ("flags", "given"),
    [
        ([], {}),
        (["--seed", "3", "--first", "5"], {"seed": 3, "first": 5}),
        (["--generator-only", "--temperature", "0.6"], {"generator_only": True, "temperature": 0.6}),
        (["--head-temperature", "0.5"], {"head_temperature": 0.5}),
        (["--batch-size", "3"], {"batch_size": 3}),
    ],
    ids=lambda v: "-".join(map(str, v)),
)
def test_samples(vaebm: Vaebm, run: Path, flags: list[str], given: dict[str, float]) -> None:  # noqa: F811
    torch.set_default_dtype(torch.float32)  # the command runs in a process of its own
    assert vaebm("sample", run, "-n", "7", "--out", "x.npz", *flags).code == 0
    torch.set_default_dtype(torch.float64)
    found = vt.load(run).sample(7, **given)
    assert np.array_equal(found.numpy(), np.load("x.npz")["images"])


def test_samples_in_the_plane(vaebm: Vaebm, plane: Path) -> None:  # noqa: F811
    torch.set_default_dtype(torch.float32)
    assert vaebm("sample", plane, "-n", "7", "--out", "x.npz").code == 0
    assert np.array_equal(vt.load(plane).sample(7).numpy(), np.load("x.npz")["vectors"])


def test_a_sample_does_not_depend_on_the_batch(model: vt.Model) -> None:
    whole = model.sample(7, seed=1).tensor
    for size in (1, 3):
        # convolutions may round differently for another batch size
        assert (model.sample(7, seed=1, batch_size=size).tensor - whole).abs().max() < 1e-4
    assert (model.sample(2, seed=1, first=5).tensor - whole[5:]).abs().max() < 1e-4
    assert (model.sample(7, seed=2).tensor - whole).abs().max() > 0.1


def test_energies_of_samples_are_the_runs_figure(model: vt.Model) -> None:
    for name, alone in (("vaebm", False), ("generator", True)):
        drawn = model.sample(20, batch_size=100, generator_only=alone)
        assert drawn.energies is not None
        assert float(drawn.energies.mean()) == pytest.approx(model.figures[name]["mean energy"], abs=1e-6)
        torch.testing.assert_close(model.energy(drawn), drawn.energies)


def test_a_chain_of_ones_own_gives_the_samples(model: vt.Model) -> None:
    rng = RowStreams([stream(0, "sample", i) for i in range(5)])
    assert model.generator is not None
    assert model.sampler is not None
    start = model.start(5)
    drawn = standard_normal(model.generator.groups, 5, rng, model.made_of.like)
    assert all(torch.equal(start[name], drawn[name]) for name in drawn)
    end = run_chain(model.sampler, start, model.density(), rng)
    torch.testing.assert_close(model.decode(end).tensor, model.sample(5).tensor)


def test_encode(vaebm: Vaebm, run: Path) -> None:  # noqa: F811
    torch.set_default_dtype(torch.float32)
    flags = ["--count", "7", "--first", "2", "--seed", "4", "--out", "x.npz"]
    assert vaebm("latents", "encode", run, *flags).code == 0
    model = vt.load(run)
    x = model.examples(7, first=2)
    eps = model.encode(x, seed=4, first=2)
    stored = np.load("x.npz")
    for name, value in eps.items():
        np.testing.assert_allclose(value.numpy(), stored[name], atol=1e-5)
    assert model.recipe.evaluate.decoder == "sample"
    torch.testing.assert_close(model.decode(eps).tensor, x.tensor, atol=1e-5, rtol=0)
    path = model.interpolate(x[:2], x[2:4], 5, seed=4)
    assert (path.shape, path.columns) == ((10, 1, 8, 8), 5)
    starts = model.reconstruct(x[:2], seed=4).tensor
    torch.testing.assert_close(path.tensor[::5], starts, atol=1e-5, rtol=0)


def test_bounds(vaebm: Vaebm, run: Path) -> None:  # noqa: F811
    torch.set_default_dtype(torch.float32)
    flags = ["-n", "20", "--importance", "3", "--importance-count", "10", "--seed", "2"]
    assert vaebm("likelihood", run, *flags).code == 0
    bounds = json.loads((run / "likelihood.json").read_text())["bounds"]
    model = vt.load(run)
    elbo = model.elbo(model.examples(20), seed=2, batch_size=7)
    tighter = model.importance_bound(model.examples(10), 3, seed=2)
    assert elbo.shape == (20,)
    assert float(elbo.mean()) == pytest.approx(bounds["ELBO"]["nats"], abs=1e-3)
    assert float(tighter.mean()) == pytest.approx(bounds["importance-weighted, 3 samples"]["nats"], abs=1e-3)


def test_a_run_is_the_commands_run(vaebm: Vaebm, run: Path) -> None:  # noqa: F811
    torch.set_default_dtype(torch.float32)
    assert vaebm("run", *FLAGS, "--quiet", "--out", "r").code == 0
    for file in (
        "recipe.toml",
        "pretrain/networks.safetensors",
        "train/networks.safetensors",
        "metrics.json",
    ):
        assert Path("r", file).read_bytes() == (run / file).read_bytes(), file


@pytest.mark.parametrize(
    ("flags", "recipe", "overrides"),
    [
        (FLAGS, "digits", TINY),
        (["--dataset", "gaussians25"], None, {"dataset": "gaussians25"}),
        (["--recipe", "digits", "--recipe", "official"], ["digits", "official"], None),
        (["--sampler.target", "official"], {"sampler": {"target": "official"}}, None),
        (["--buffer", "none", "--trainer.steps", "3"], None, {"buffer": None, "trainer": {"steps": 3}}),
        (["--trainer", "none"], None, {"trainer": None}),
        (["--sampler", "latent-ld", "--seed", "7"], "digits", {"sampler": "latent-ld", "run": {"seed": 7}}),
    ],
    ids=["tiny", "data set", "option set", "tables", "without buffer", "generator alone", "seed"],
)
def test_recipes(
    vaebm: Vaebm,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    recipe: Any,
    overrides: Any,
) -> None:
    monkeypatch.setattr(estimate, "describe", lambda *_: "")  # the costs above the recipe
    printed = vaebm("run", *flags, "--dry-run").out
    chosen = vt.resolve(recipe, overrides)
    assert str(chosen).strip() == printed.strip()
    assert str(vt.resolve(chosen)) == str(chosen)
