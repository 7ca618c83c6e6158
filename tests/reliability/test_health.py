"""Divergence stops a stage with a reason, after going back to the last healthy checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vaebm_toolkit import hookimpl
from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.builtin.vaebm_kl import VaebmKlTrainer
from vaebm_toolkit.builtin.wgan import WganTrainer
from vaebm_toolkit.core import Trainer, Update
from vaebm_toolkit.errors import RunError
from vaebm_toolkit.launch import prepare
from vaebm_toolkit.pipeline import Pipeline
from vaebm_toolkit.recipe import HealthOptions
from vaebm_toolkit.registry import discover, installed
from vaebm_toolkit.trained import load_model
from vaebm_toolkit.training.checkpoint import Checkpoints
from vaebm_toolkit.training.health import complaint
from vaebm_toolkit.training.rundir import RunDirectory

from .conftest import MLP_PAIR, NOT_OF_THE_PAIR, Silent, start, tables


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"energy_loss": float("nan")}, "energy_loss is nan"),
        ({"anything": float("inf")}, "anything is inf"),
        ({"energy_gap": -2e3}, "health.max_energy_gap"),
        ({"energy_grad_norm": 2e6}, "health.max_grad_norm"),
        ({"generator_loss": 2e9}, "health.max_loss"),
    ],
)
def test_complaints(metrics: dict[str, float], words: str) -> None:
    assert words in complaint(metrics, HealthOptions())


def test_no_complaint_about_the_usual() -> None:
    assert complaint({"energy_gap": 3.0, "energy_grad_norm": 5e3, "kl": 1e4}, HealthOptions()) is None


def test_an_exploding_energy_is_rolled_back(tmp_path: Path) -> None:
    reporter = Silent()
    start(tmp_path / "run", reporter, trainer={"lr": 1e4, "log_every": 1, "steps": 60},
          health={"max_energy_gap": 50.0})  # fmt: skip
    done = json.loads((tmp_path / "run/train/done.json").read_text())
    assert done["stopped"]
    assert done["step"] < 60
    assert "went back to the healthy checkpoint" in reporter.warnings[0]
    run = RunDirectory.open(tmp_path / "run", installed())
    kept = Checkpoints(run.path / "train").load()[1]["extra"]["average"]
    for name, value in run.networks("train")["energy"].items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, kept[name])
    model = load_model(run, torch.device("cpu"))
    assert torch.isfinite(model.energy(torch.rand(4, 1, 8, 8))).all()


def test_non_finite_weights_never_reach_a_checkpoint(tmp_path: Path) -> None:
    start(tmp_path / "run", trainer={"lr": 1e30, "checkpoint_every": 1, "log_every": 50, "keep": 50})
    checkpoints = Checkpoints(tmp_path / "run/train")
    for step in checkpoints.steps():
        state = checkpoints.load()[1] if step == checkpoints.steps()[-1] else None
        if state is not None:
            assert all(torch.isfinite(v).all() for v in state["players"]["energy"].values())
    assert json.loads((tmp_path / "run/train/done.json").read_text())["stopped"]


@pytest.mark.parametrize("trainer", ["wgan", "vaebm-kl"])
@pytest.mark.parametrize("player", ["energy", "generator"])
def test_a_loss_of_either_player_can_stop_a_stage_that_moves_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: str, player: str
) -> None:
    """NaN at the third step, named by its player; both networks go back to the step before."""
    factory = {"wgan": WganTrainer, "vaebm-kl": VaebmKlTrainer}[trainer]
    updates = factory.updates

    def failing(self: Trainer, x: Tensor, step: int, rng: torch.Generator) -> Iterator[Update]:
        for update in updates(self, x, step, rng):
            broken = step == 2 and update.player == player
            yield update._replace(loss=update.loss * torch.nan) if broken else update

    monkeypatch.setattr(factory, "updates", failing)
    settings = {"name": trainer, "log_every": 1, "checkpoint_every": 1, "ema": 0.0}
    start(tmp_path / "run", without=NOT_OF_THE_PAIR, trainer=settings, **MLP_PAIR)
    done = json.loads((tmp_path / "run/train/done.json").read_text())
    assert done["stopped"].startswith(f"{player}_grad_norm is nan at step 3")
    assert (done["step"], done["diverged"]) == (2, True)
    kept = Checkpoints(tmp_path / "run/train").load()[1]["players"]
    networks = RunDirectory.open(tmp_path / "run", installed()).networks("train")
    assert networks.keys() == {"energy", "generator"}
    for name, weights in networks.items():
        assert all(torch.equal(v, kept[name][k]) and v.isfinite().all() for k, v in weights.items())


def test_a_diverged_generator_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="The generator stage stopped") as e:
        start(tmp_path / "run", pretrain={"lr": 1e30, "warmup_epochs": 0.0})
    assert "--generator-from" in e.value.fix


def test_a_logger_can_stop_a_stage(tmp_path: Path) -> None:
    class Logger:
        @hookimpl
        def vaebm_step_end(self, run: object, step: int) -> str | None:
            return "enough" if step >= 6 and run.stage == "train" else None  # type: ignore[attr-defined]

    class Failing:
        @hookimpl
        def vaebm_step_end(self, metrics: object) -> None:
            raise ValueError("a stranger's bug")

    registry = discover()
    registry.hooks.register(Logger(), name="acme-logger")
    registry.hooks.register(Failing(), name="acme-failing")
    reporter = Silent()
    run = RunDirectory.create(tmp_path / "run", recipes.resolve(tables(), registry), [])
    Pipeline(run, prepare(run.recipe), registry, reporter, torch.device("cpu")).work()
    done = json.loads((tmp_path / "run/train/done.json").read_text())
    assert done["stopped"] == "enough at step 6"
    assert (done["step"], done["diverged"]) == (6, False), "nothing is rolled back"
    kept = Checkpoints(run.path / "train").load()[1]["extra"]["average"]
    assert all(torch.equal(v, kept[k]) for k, v in run.networks("train")["energy"].items())
    assert [w for w in reporter.warnings if "acme-failing" in w and "a stranger's bug" in w]
