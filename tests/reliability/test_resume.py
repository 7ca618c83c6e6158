"""N steps = k steps, a stop, and N − k more: bit for bit on the CPU, in both stages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.registry import installed
from vaebm_toolkit.training.rundir import RunDirectory

from .conftest import MLP_PAIR, NOT_OF_THE_PAIR, Silent, go, resume, start


def left_by(run: Path) -> dict[str, object]:
    """Everything that must be equal: networks, last checkpoints (buffer, optimiser, average), log."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for record in log:
        record.pop("seconds_per_step", None)
    files = [p for s in ("pretrain", "train") for p in sorted((run / s).rglob("*")) if p.is_file()]
    return {"log": log, **{str(p.relative_to(run)): p.read_bytes() for p in files}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    path = tmp_path_factory.mktemp("whole") / "run"
    start(path)
    return left_by(path)


@pytest.mark.parametrize(
    "stop_at", [("pretrain", 1), ("pretrain", 6), ("pretrain", 12), ("train", 1), ("train", 7), ("train", 11)]
)
def test_resumed_equals_uninterrupted(
    tmp_path: Path, whole: dict[str, object], stop_at: tuple[str, int]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "run", Silent(stop_at))
    resume(tmp_path / "run")
    found = left_by(tmp_path / "run")
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        assert found[name] == value, name


def test_many_stops(tmp_path: Path, whole: dict[str, object]) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "run", Silent(("pretrain", 5)))
    for stop_at in (("pretrain", 9), ("train", 2), ("train", 6), ("train", 10)):
        with pytest.raises(KeyboardInterrupt):
            resume(tmp_path / "run", Silent(stop_at))
    resume(tmp_path / "run")
    assert left_by(tmp_path / "run") == whole


def test_a_checkpoint_cut_in_half_costs_only_its_steps(tmp_path: Path, whole: dict[str, object]) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        start(run, Silent(("train", 10)))
    file = run / "train/step-00000008/state.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    reporter = Silent()
    resume(run, reporter)
    assert "step-00000008" in reporter.warnings[0]
    import shutil

    shutil.rmtree(run / "train/damaged-step-00000008")
    assert left_by(run) == whole


DATA_SPACE = {
    "sampler": {"name": "data-ld", "steps": 2, "step_size": 20.0},
    "buffer": {"reuse": 0.95, "anneal_steps": 0},
}


@pytest.mark.parametrize("start_from", ["noise", "generator"])
@pytest.mark.parametrize("advance", ["training", "always"])
def test_a_stage_in_data_space_resumes_too(tmp_path: Path, start_from: str, advance: str) -> None:
    over = {
        **DATA_SPACE,
        "energy": {"name": "igebm", "advance": advance},
        "trainer": {"name": "ebm", "start": start_from},
        "pretrain": {"steps": 2},
    }
    start(tmp_path / "whole", **over)
    assert (tmp_path / "whole/pretrain").exists() == (start_from == "generator")
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "run", Silent(("train", 7)), **over)
    resume(tmp_path / "run")
    assert left_by(tmp_path / "run") == left_by(tmp_path / "whole")


@pytest.mark.parametrize("trainer", ["wgan", "vaebm-kl"])
def test_a_stage_that_moves_the_generator_resumes_too(tmp_path: Path, trainer: str) -> None:
    over = {**MLP_PAIR, "trainer": {"name": trainer, "generator_lr": 1e-3}}
    start(tmp_path / "whole", without=NOT_OF_THE_PAIR, **over)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "run", Silent(("train", 7)), without=NOT_OF_THE_PAIR, **over)
    resume(tmp_path / "run")
    found = left_by(tmp_path / "run")
    assert found == left_by(tmp_path / "whole")
    last = found["log"][-1]
    assert {"energy_gap", "energy_data", "energy_samples", "energy_loss", "generator_loss"} <= set(last)
    assert {"energy_grad_norm", "generator_grad_norm"} <= set(last)


PLANE = {
    "dataset": {"name": "gaussians25", "train_size": 200, "test_size": 50},
    "generator": {"name": "mlp", "width": 8, "depth": 1},
    "pretrain": {"name": "vae", "steps": 2, "batch_size": 16, "warmup_epochs": 0.0},
    "energy": {"name": "mlp", "width": 8, "depth": 1},
    "sampler": {"name": "latent-ld", "steps": 2, "step_size": 0.01},
    "evaluate": {"samples": 0},
}  # fmt: skip
STEPS = {"steps": 12, "batch_size": 16, "log_every": 3, "checkpoint_every": 4, "ema": 0.9}


@pytest.mark.parametrize(
    "trainer",
    [{"name": "vaebm-exact", "draws": 64, **STEPS}, {"name": "vaebm", "prior_jumps": 2, **STEPS}],
    ids=lambda t: t["name"],
)
def test_a_stage_in_the_plane_resumes_too(tmp_path: Path, trainer: dict[str, object]) -> None:
    recipe = recipes.resolve({**PLANE, "trainer": trainer}, installed())
    go(RunDirectory.create(tmp_path / "whole", recipe, []), None)
    with pytest.raises(KeyboardInterrupt):
        go(RunDirectory.create(tmp_path / "run", recipe, []), Silent(("train", 7)))
    resume(tmp_path / "run")
    assert left_by(tmp_path / "run") == left_by(tmp_path / "whole")
