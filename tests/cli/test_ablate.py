"""`vaebm ablate`: every kind of row with the built-in pair of networks, going on, refusals, output."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.ablation import tables as ablations
from vaebm_toolkit.registry import installed

from .conftest import Vaebm

TABLE = """# Tiny rows
recipe = "digits"
reference = "vaebm"
published = true
dataset = { limit = 100 }
evaluate = { samples = 20, grid = 9 }
generator = { name = "mlp", width = 8, depth = 1, latent = 2 }
pretrain = { name = "vae", steps = 3, batch_size = 10, spectral_bn = 0.0 }
energy = { name = "mlp", width = 8, depth = 1 }
sampler = { name = "latent-ld", steps = 2 }
sampling = { name = "latent-ld", steps = 2 }
trainer = { name = "vaebm", steps = 3, batch_size = 10, log_every = 2 }
[[rows]]
name = "generator"
title = "VAE alone"
[[rows]]
name = "ebm"
sampler = { name = "data-ld", steps = 2 }
trainer = { name = "ebm" }
[[rows]]
name = "ebm-generator"
sampler = { name = "data-ld", steps = 2 }
trainer = { name = "ebm", start = "generator" }
[[rows]]
name = "wgan"
trainer = { name = "wgan", critic_steps = 2 }
[[rows]]
name = "vaebm-kl"
buffer = { name = "none" }
trainer = { name = "vaebm-kl" }
[[rows]]
name = "vaebm-official"
sampler = { target = "official" }
[[rows]]
name = "vaebm-xz"
sampler = { name = "joint-ld", steps = 2, step_size = 1e-6 }
[[rows]]
name = "vaebm"
title = "VAEBM"
"""
ROWS = ["generator", "ebm", "ebm-generator", "wgan", "vaebm-kl", "vaebm-official", "vaebm-xz", "vaebm"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("table") / "tiny.toml"
    file.write_text(TABLE)
    return str(file)


def lines(out: str) -> list[list[str]]:
    return [line.split("\t") for line in out.splitlines() if "\t" in line]


def test_every_kind_of_row_runs_and_goes_on(vaebm: Vaebm, table: str) -> None:
    called = vaebm("ablate", "--table", table, "--seeds", "0", "--out", "a", "--quiet")
    assert called.code == 0, called.err
    found = lines(called.out)
    assert found[0] == ["row", "frechet", "behind vaebm", "training", "published FID, CIFAR-10"]
    assert [line[0] for line in found[1:]] == ["VAE alone", *ROWS[1:-1], "VAEBM"]
    assert all(float(line[1]) > 0 for line in found[1:])
    assert found[1][4] == "51.67 [S, table 1]"
    assert "29.32" not in called.out  # a figure from memory is never printed as published
    assert "One seed." in called.out

    stored = json.loads(Path("a/table.json").read_text())
    assert [row["name"] for row in stored["rows"]] == ROWS
    by_name = {row["name"]: row for row in stored["rows"]}
    behind = by_name["ebm"]["behind reference"]["frechet"]["mean"]
    difference = by_name["ebm"]["figures"]["frechet"]["mean"] - by_name["vaebm"]["figures"]["frechet"]["mean"]
    assert behind == pytest.approx(difference)
    assert Path("a/table.md").read_text().startswith("| row | frechet |")
    assert Image.open("a/samples.png").height > 8 * 100

    # each row is an ordinary run, with the generator of the first
    for row in ROWS:
        recipe = tomllib.loads(Path(f"a/seed-0/{row}/recipe.toml").read_text())
        assert recipe["evaluate"]["samples"] == 20
        metrics = json.loads(Path(f"a/seed-0/{row}/metrics.json").read_text())
        name = "generator" if row == "generator" else recipe["trainer"]["name"]
        assert metrics["figures"][name]["frechet"] == by_name[row]["figures"]["frechet"]["mean"]
    shared = Path("a/seed-0/generator/pretrain/networks.safetensors").read_bytes()
    assert Path("a/seed-0/wgan/pretrain/networks.safetensors").read_bytes() == shared
    assert not Path("a/seed-0/ebm/pretrain").exists()
    assert vaebm("sample", "a/seed-0/wgan", "-n", "2", "--out", "x.npz").code == 0

    # again: nothing is trained, one row is made anew, a second seed is added
    before = {p: p.stat().st_mtime_ns for p in Path("a").glob("seed-0/*/metrics.json")}
    shutil.rmtree("a/seed-0/vaebm")
    rows = "generator,vaebm"
    called = vaebm(
        "ablate", "--table", table, "--rows", rows, "--seeds", "0,1", "--out", "a", "--format", "json", "-q"
    )
    assert called.code == 0, called.err
    two = json.loads(called.out)["rows"]
    assert [row["name"] for row in two] == ["generator", "vaebm"]
    assert two[1]["figures"]["frechet"]["seeds"] == 2
    assert two[1]["seeds"]["0"] == by_name["vaebm"]["seeds"]["0"]  # bit for bit what it was
    after = {p: p.stat().st_mtime_ns for p in Path("a").glob("seed-0/*/metrics.json")}
    assert [p.parent.name for p in before if before[p] != after[p]] == ["vaebm"]

    called = vaebm("ablate", "--table", table, "--seeds", "0", "--out", "a", "--evaluate.samples", "30")
    assert called.code == 2
    assert "a/seed-0/generator holds this row with other settings." in called.err


def test_rows_in_processes_of_their_own(vaebm: Vaebm, table: str) -> None:
    args = [
        "ablate",
        "--table",
        table,
        "--rows",
        "ebm,vaebm",
        "--seeds",
        "0",
        "--quiet",
        "--format",
        "markdown",
    ]
    together = vaebm(*args, "--out", "a", "--jobs", "2")
    assert together.code == 0, together.err
    single = vaebm(*args, "--out", "b")
    figures = [
        [c.split("|")[2:4] for c in x.out.splitlines() if c.startswith("|")] for x in (together, single)
    ]
    assert figures[0] == figures[1]
    assert Path("a/seed-0/generator/recipe.toml").is_file()  # trained, though it is no row of this table


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_sigterm_leaves_every_begun_row_with_a_checkpoint(vaebm: Vaebm, table: str, jobs: str) -> None:
    text = Path(table).read_text()
    endless = text.replace("steps = 3, batch_size = 10, log", "steps = 200_000, batch_size = 10, log")
    assert endless != text
    Path("long.toml").write_text(endless)
    args = ["--table", "long.toml", "--rows", "vaebm,vaebm-official", "--seeds", "0", "--out", "a", "-q"]
    code = "import sys; sys.argv = ['vaebm', *sys.argv[1:]]; from vaebm_toolkit.cli import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, "ablate", *args, "--jobs", jobs], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while len(list(Path("a").glob("seed-0/vaebm*/train/step-*"))) < int(jobs) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    child.terminate()  # the command alone, not its processes
    said = child.communicate(timeout=120)[1]
    assert child.returncode == 130, said
    assert "The same command goes on in a." in said
    assert "Traceback" not in said
    begun = list(Path("a").glob("seed-0/vaebm*"))
    assert len(begun) == int(jobs)
    for run in begun:
        assert not (run / "metrics.json").exists()
        assert max(int(p.name[5:]) for p in run.glob("train/step-*")) > 0  # where it stopped, not the start


def test_a_given_generator_is_shared_by_all_seeds(vaebm: Vaebm, table: str) -> None:
    assert (
        vaebm("ablate", "--table", table, "--rows", "generator", "--seeds", "0", "--out", "a", "-q").code == 0
    )
    args = ["--rows", "vaebm", "--seeds", "4,5", "--out", "b", "-q", "--generator-from", "a/seed-0/generator"]
    called = vaebm("ablate", "--table", table, *args)
    assert called.code == 0, called.err
    shared = Path("a/seed-0/generator/pretrain/networks.safetensors").read_bytes()
    for seed in (4, 5):
        assert Path(f"b/seed-{seed}/vaebm/pretrain/networks.safetensors").read_bytes() == shared
    assert not Path("b/seed-4/generator").exists()


def test_a_diverging_row_does_not_stop_the_others(vaebm: Vaebm, table: str) -> None:
    text = Path(table).read_text().replace("step_size = 1e-6", "step_size = 1e38")
    Path("wild.toml").write_text(text)
    called = vaebm(
        "ablate", "--table", "wild.toml", "--rows", "vaebm-xz,vaebm", "--seeds", "0", "--out", "a", "-q"
    )
    assert called.code == 0, called.err
    found = {line[0]: line for line in lines(called.out)}
    assert found["vaebm-xz*"][1] == "failed"
    assert float(found["VAEBM"][1]) > 0
    assert "* vaebm-xz, seed 0: " in called.out


def test_dry_run_shows_the_rows(vaebm: Vaebm, table: str) -> None:
    called = vaebm("ablate", "--table", table, "--dry-run")
    found = {line[0]: line for line in lines(called.out)}
    assert found["wgan"][2:] == ["wgan", "mlp", "", "", "3 steps of 10"]
    assert found["vaebm-kl"][2:] == ["vaebm-kl", "mlp", "latent-ld", "", "3 steps of 10"]
    assert found["generator"][2] == "vae"
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--table", "digit"], 'Did you mean "digits"?'),
        (["--table", "none.toml"], "There is no file none.toml."),
        (["--rows", "vaebm,wgam"], 'Did you mean "wgan"?'),
        (["--rows", ","], "--rows names no row."),
        (["--seeds", "0,x"], "Write e.g. --seeds 0,1"),
        (["--seeds", "-1"], "Write e.g. --seeds 0,1"),
        (["--evaluate.sample", "3"], "evaluate.sample"),
        (["--generator-from", "nowhere"], "nowhere does not exist."),
        (["--dataset", "mnist", "--dataset.root", "nowhere"], "nowhere"),
    ],
)
def test_wrong_input(vaebm: Vaebm, args: list[str], words: str) -> None:
    called = vaebm("ablate", *args, "--out", "a")
    assert called.code != 0
    assert words in called.err
    assert not Path("a").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("recipe = 'digits'", "it has no rows."),
        ("rows = [{ name = 'a' }, { name = 'a' }]", 'two rows are called "a".'),
        ("rows = [{ title = 'a' }]", "every row needs a name"),
        ("rows = [{ name = '../a' }]", "every row needs a name"),
        ("refference = 'a'\nrows = [{ name = 'a' }]", 'Did you mean "reference"?'),
        ("reference = 'b'\nrows = [{ name = 'a' }]", 'reference = "b" is no row.'),
        ("rows = [{ name = 'a', trainer = { stepps = 3 } }]", "row a: trainer.stepps"),
        ("rows = [{ name = 'a', trainr = { steps = 3 } }]", "row a: [trainr]"),
        ("rows = [", "is not TOML"),
        (
            "rows = [{ name = 'a', evaluate = { samples = 9 } }]",
            "row a: [evaluate] is the same for all rows.",
        ),
        ("rows = [{ name = 'a', recipes = ['official'] }]", "row a: [generator] is the same for all rows."),
        ("rows = [{ name = 'a', recipes = 'row-wgan' }]", "recipes must be a list."),
        ("rows = [{ name = 'a', sampler = { name = 'data-ld' } }]", "latent space"),
        ("rows = [{ name = 'a', trainer = { name = 'vaebm-kl' } }]", "--buffer none"),
    ],
)
def test_wrong_tables(vaebm: Vaebm, text: str, words: str) -> None:
    Path("t.toml").write_text(text)
    called = vaebm("ablate", "--table", "t.toml", "--seeds", "0", "--out", "a")
    assert called.code != 0
    assert words in called.err
    assert not Path("a").exists()


@pytest.mark.parametrize("name", ablations.shipped())
def test_shipped_tables_resolve_and_share_one_generator_and_evaluation(name: str) -> None:
    ablation = ablations.read(name)
    found = {row.name: ablation.recipe(row, 0, {}, installed()).tables() for row in ablation.rows}
    assert len({recipes.dumps({"e": t["evaluate"], "d": t["dataset"]}) for t in found.values()}) == 1
    generators = [
        recipes.dumps({k: t[k] for k in ("generator", "pretrain")})
        for t in found.values()
        if "generator" in t
    ]
    assert len(set(generators)) == 1
    assert {"generator", "ebm", "ebm-generator", "wgan", "vaebm-kl", "vaebm-no-buffer", "vaebm"} <= set(found)


def test_published_settings_of_the_rows() -> None:
    """VAEBM, settings appendix."""
    ablation = ablations.read("cifar10")
    rows = {row.name: ablation.recipe(row, 0, {}, installed()).tables() for row in ablation.rows}
    wgan, kl, vaebm, ebm = (rows[n] for n in ("wgan", "vaebm-kl", "vaebm", "ebm"))
    assert (wgan["trainer"]["lr"], wgan["trainer"]["generator_lr"], wgan["trainer"]["steps"]) == (
        5e-5,
        5e-6,
        40_000,
    )
    assert (wgan["energy"]["norm"], wgan["energy"]["batch_norm"]) == ("spectral", True)
    assert not {"sampler", "buffer", "sampling"} & set(wgan)
    assert (kl["trainer"]["lr"], kl["trainer"]["generator_lr"]) == (5e-5, 5e-6)
    assert (kl["sampler"]["steps"], kl["sampler"]["step_size"], kl["buffer"]["name"]) == (10, 8e-5, "none")
    assert (kl["sampling"]["steps"], kl["sampling"]["step_size"]) == (15, 5e-6)
    assert (vaebm["sampler"]["steps"], vaebm["sampling"]["steps"], vaebm["trainer"]["lr"]) == (5, 15, 5e-5)
    assert vaebm["buffer"]["reuse"] == 0.6
    assert (ebm["trainer"]["steps"], ebm["trainer"]["lr"], ebm["buffer"]["reuse"]) == (100_000, 1e-4, 0.95)
    assert (ebm["sampler"]["steps"], ebm["sampling"]["steps"]) == (60, 150)
    assert (ebm["sampler"]["step_size"] / 2, ebm["sampler"]["grad_clip"]) == (10, 0.01)
    assert rows["ebm-generator"]["trainer"]["start"] == "generator"
    assert rows["vaebm-official"]["sampler"]["target"] == "official"
