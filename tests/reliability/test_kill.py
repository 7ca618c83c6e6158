"""kill -9 at random moments, also while a checkpoint is being written: a run always continues."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from vaebm_toolkit.training.checkpoint import Checkpoints, read_state

from .conftest import resume, start

KILLS = 20
LONG = {"steps": 40, "checkpoint_every": 1, "log_every": 1}  # most of the time goes into checkpoints


def work(path: Path) -> None:
    """In a child process: begin the run, or go on with it."""
    os.close(2)
    if (path / "recipe.toml").exists():
        resume(path)
    else:
        start(path, pretrain=LONG, trainer=LONG)


def run_in_child(path: Path, seconds: float | None) -> int | None:
    """The child's exit code after at most `seconds`, then SIGKILL; None: run to the end."""
    child = multiprocessing.get_context("fork").Process(target=work, args=(path,))
    child.start()
    child.join(seconds)
    if child.is_alive():
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    return child.exitcode


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    path = tmp_path / "run"
    begin = time.monotonic()
    assert run_in_child(tmp_path / "timing", None) == 0
    whole = time.monotonic() - begin
    moments = random.Random(0)
    reached = {"pretrain": -1, "train": -1}
    for _ in range(KILLS):
        code = run_in_child(path, moments.uniform(0.02, 0.35) * whole)
        assert code in (0, -signal.SIGKILL), f"the run failed by itself: exit code {code}"
        for stage in reached:
            steps = Checkpoints(path / stage).steps()
            for step in steps:
                read_state(Checkpoints(path / stage).path(step))  # every one on disk is whole
            newest = max(steps, default=-1)
            assert newest >= reached[stage], f"a checkpoint of stage {stage} was lost"
            reached[stage] = newest
        assert not list(path.rglob("damaged-*"))
    assert run_in_child(path, None) == 0
    for stage in ("pretrain", "train"):
        a = (path / stage / "networks.safetensors").read_bytes()
        assert a == (tmp_path / "timing" / stage / "networks.safetensors").read_bytes()
