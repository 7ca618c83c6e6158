"""Being asked to stop: a checkpoint of the last whole step, and the command to go on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.errors import RunError
from vaebm_toolkit.registry import installed
from vaebm_toolkit.training.checkpoint import Checkpoints
from vaebm_toolkit.training.fit import Interrupted
from vaebm_toolkit.training.rundir import RunDirectory

from .conftest import Silent, go, resume, start, tables


class StopsAt(Silent):
    """Sets the event that Ctrl-C sets, in the middle of the training stage."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self.event = event

    def step(self, step: int) -> None:
        if (self.at, step) == ("train", 6):
            self.event.set()


def test_a_checkpoint_is_written_between_the_regular_ones(tmp_path: Path) -> None:
    event = threading.Event()
    run = RunDirectory.create(tmp_path / "run", recipes.resolve(tables(), installed()), [])
    with pytest.raises(Interrupted, match="Stopped at step 6") as e:
        go(run, StopsAt(event), event)
    assert f"vaebm run --resume {run.path}" in str(e.value)
    assert Checkpoints(run.path / "train").steps()[-1] == 6
    resume(run.path)
    start(tmp_path / "whole")
    a, b = (p / "train/networks.safetensors" for p in (run.path, tmp_path / "whole"))
    assert a.read_bytes() == b.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signals(tmp_path: Path, number: signal.Signals) -> None:
    code = "import sys; sys.argv = ['vaebm', *sys.argv[1:]]; from vaebm_toolkit.cli import main; main()"
    flags = ["run", "--generator.channels", "4", "--generator.groups", "1", "--pretrain.log-every", "1",
             "--pretrain.epochs", "1000", "--out", "r"]  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-c", code, *flags], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    first = tmp_path / "r/pretrain/step-00000000"
    deadline = time.monotonic() + 120
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    os.kill(child.pid, number)
    said = child.communicate(timeout=120)[1]
    assert child.returncode == 130, said
    assert "vaebm run --resume r" in said
    assert "Traceback" not in said


def test_two_processes_cannot_share_a_run(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", recipes.resolve(tables(), installed()), [])
    run.lock()
    other = RunDirectory.open(tmp_path / "run", installed())
    with pytest.raises(RunError, match="Another process"):
        other.lock()


def test_stopping_while_sampling(tmp_path: Path) -> None:
    start(tmp_path / "run", evaluate={"samples": 8})
    event = threading.Event()
    event.set()
    run = RunDirectory.open(tmp_path / "run", installed())
    with pytest.raises(Interrupted, match="while sampling"):
        go(run, Silent(), event)
