"""Whole runs on several processes: one checkpoint of all, resumed on as many, fewer and more."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.building import build_dataset
from vaebm_toolkit.core import Buffer, ranks
from vaebm_toolkit.errors import RecipeError, RunError
from vaebm_toolkit.launch import everywhere, prepare
from vaebm_toolkit.pipeline import Pipeline
from vaebm_toolkit.registry import installed
from vaebm_toolkit.results import Diverged, Evaluation
from vaebm_toolkit.training.checkpoint import read_state
from vaebm_toolkit.training.fit import Interrupted
from vaebm_toolkit.training.rundir import RunDirectory, read_log
from vaebm_toolkit.training.shards import SHARDS, Shards

from ..reliability.conftest import Silent, tables
from .group import default_dtype, together

pytestmark = pytest.mark.slow
STOP = 6
"""the step of the second stage at which one rank is asked to stop"""


@pytest.fixture
def dtype() -> torch.dtype:
    return torch.float32


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """What runs import, before processes are forked that would each do so."""
    with default_dtype(torch.float32):
        prepare(recipes.resolve(tables(), installed()))


class Asked(Silent):
    """The last rank alone is asked to stop."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self.event = event

    def step(self, step: int) -> None:
        if (self.at, step) == ("train", STOP) and ranks.rank() == ranks.world() - 1:
            self.event.set()


def work(path: Path, stops: bool = False, over: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Begin the run, or go on with it; the networks that this rank ends with."""
    registry, event = installed(), threading.Event()

    def make() -> tuple[Any, RunDirectory]:
        if (path / "recipe.toml").exists():
            run = RunDirectory.open(path, registry)
        else:
            run = RunDirectory.create(path, recipes.resolve(tables(**(over or {})), registry), [])
        return prepare(run.recipe, finished=[s for s in ("pretrain", "train") if run.done(s)]), run

    dataset, run = everywhere(make, registry)
    held: dict[str, Any] = {}

    class Watched(Pipeline):
        def train(self, stage: str, dataset: Any, parts: dict[str, Any]) -> Any:
            held[stage] = parts
            return super().train(stage, dataset, parts)

    pipeline = Watched(run, dataset, registry, Asked(event), torch.device("cpu"), event if stops else None)
    try:
        pipeline.stages()
    except Interrupted as e:
        return {"stopped": str(e)}
    finally:
        run.close()
    energy = held["train"]["energy"]
    return {
        "weights": dict(energy.state_dict()),
        "generator": dict(held["train"]["generator"].state_dict()),
        "chains": held["train"]["buffer"].own.state_dict(),
    }


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two processes, stopped in the second stage."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    with default_dtype(torch.float32):
        said = together(2, work, path, True)
    assert [f"Stopped at step {STOP}" in s["stopped"] for s in said] == [True, True]
    assert f"vaebm run --resume {path} --devices 2" in said[0]["stopped"]
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The same run, not stopped."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with default_dtype(torch.float32):
        return path, together(2, work, path)


def test_ranks_end_equal_though_they_draw_differently(whole: tuple[Path, list[dict[str, Any]]]) -> None:
    path, (one, two) = whole
    assert same(one["weights"], two["weights"])
    assert same(one["generator"], two["generator"])
    assert one["chains"]["capacity"] == two["chains"]["capacity"] == 20
    for name, chains in one["chains"]["chains"].items():
        assert not torch.isclose(chains[:8], two["chains"]["chains"][name][:8]).any(), name
    log = read_log(path / "log.jsonl")
    assert [r["step"] for r in log if r.get("stage") == "train"] == [3, 6, 9, 12]
    assert not list(path.rglob("*writing*"))


def test_the_same_number_goes_on_bit_for_bit(stopped: Path, whole: tuple[Path, Any], tmp_path: Path) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    together(2, work, tmp_path / "run")
    for stage in ("pretrain", "train"):
        a, b = (p / stage / "networks.safetensors" for p in (whole[0], tmp_path / "run"))
        assert a.read_bytes() == b.read_bytes()


@pytest.mark.parametrize("world", [1, 4])
def test_another_number_goes_on_with_the_same_chains(stopped: Path, tmp_path: Path, world: int) -> None:
    path = tmp_path / "run"
    shutil.copytree(stopped, path)
    state, _ = read_state(path / "train" / f"step-{STOP:08d}")
    shards = state["extra"]["buffer"][SHARDS]
    found = together(world, work, path)
    assert [f["chains"]["capacity"] for f in found] == [40 // world] * world
    assert all(same(found[0]["weights"], f["weights"]) for f in found)
    first = next(iter(shards[0]["chains"]))
    before = {round(float(v), 6) for s in shards for v in s["chains"][first].flatten(1)[:, 0]}
    after = {round(float(v), 6) for f in found for v in f["chains"]["chains"][first].flatten(1)[:, 0]}
    assert len(before & after) >= 4  # few are left after six steps of eight chains in forty places
    if world == 1:
        assert "capacity" in read_state(path / "train/step-00000012")[0]["extra"]["buffer"]


def refusal(path: Path, over: Mapping[str, Any]) -> str:
    """What rank 0 says about the run."""
    try:
        recipe = recipes.resolve(tables(**over), installed())
        if ranks.rank() == 0:
            prepare(recipe)
    except RecipeError as e:
        return str(e)
    return ""


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"trainer": {"batch_size": 9}}, "--trainer.batch-size 8 or --trainer.batch-size 10"),
        ({"pretrain": {"batch_size": 1}}, "--pretrain.batch-size 2"),
        ({"buffer": {"capacity": 41}}, "--buffer.capacity 40"),
    ],
)
def test_what_cannot_be_shared_is_refused(tmp_path: Path, over: dict[str, Any], words: str) -> None:
    assert words in together(2, refusal, tmp_path / "run", over)[0]


class Plain(Buffer):
    """It says nothing about ranks."""

    def draw(self, fresh, step, rng):
        return fresh

    def push(self, state): ...

    def state_dict(self):
        return {"a": 1}

    def load_state_dict(self, state):
        assert state == {"a": 1}


def test_a_buffer_that_cannot_be_redistributed(tmp_path: Path) -> None:
    held = Shards(Plain(), tmp_path / "my run")
    assert held.state_dict() == {"a": 1}
    held.load_state_dict({"a": 1})
    with pytest.raises(RunError, match="training on 2 processes, and cannot be resumed on one") as e:
        held.load_state_dict({SHARDS: [{"a": 1}, {"a": 1}]})
    assert "my run' --devices 2" in str(e.value)


def drawn(path: Path, count: int) -> int:
    """Make the samples of the run's models; the number of models."""
    tables = recipes.read(path / "recipe.toml")
    tables["evaluate"] = {**tables["evaluate"], "samples": count, "batch_size": 7}
    recipe = recipes.resolve(tables, installed())
    run = RunDirectory.open(path, installed())
    evaluation = Evaluation(run, build_dataset(recipe), torch.device("cpu"), recipe=recipe)
    evaluation.draw()
    return len(evaluation.models())


def test_samples_are_those_of_one_process(whole: tuple[Path, Any], tmp_path: Path) -> None:
    for world, count in ((1, 43), (2, 20), (2, 43), (4, 43)):  # the second time, those that are missing
        if not (tmp_path / str(world)).exists():
            shutil.copytree(whole[0], tmp_path / str(world))
        assert together(world, drawn, tmp_path / str(world), count) == [2] * world
    files = {w: sorted((tmp_path / str(w)).glob("evaluation/*/*.npy")) for w in (1, 2, 4)}
    for one, two, four in zip(*files.values(), strict=True):
        wanted = np.load(one)
        assert len(wanted) == 43
        for other in (two, four):
            np.testing.assert_allclose(np.load(other), wanted, atol=1e-5)


def diverging(path: Path) -> tuple[str, int | None]:
    """A stage that is stopped for its figures: why, and at which step."""
    try:
        found = work(path, over={"health": {"max_loss": 1e-3}})
    except Diverged as e:
        return e.message, ranks.rank()
    return str(found), None


def test_all_ranks_go_back_together(tmp_path: Path) -> None:
    (one, _), (two, rank) = together(2, diverging, tmp_path / "run")
    assert one == two
    assert rank == 1
    assert "exceeds health.max_loss" in one
