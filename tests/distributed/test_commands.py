"""`vaebm run --devices N`: one process per device, and what is said when one of them ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vaebm_toolkit.training.checkpoint import Checkpoints

from ..cli.conftest import TINY

CODE = "import sys; sys.argv = ['vaebm', *sys.argv[1:]]; from vaebm_toolkit.cli import main; main()"


def begun(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, "run", "--devices", "2", *args],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def rank_of(pid: int) -> str | None:
    """RANK in a process's environment."""
    held = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((v[5:].decode() for v in held if v.startswith(b"RANK=")), None)


def child(parent: int, rank: int) -> int:
    """The process of that rank."""
    pids = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(int(p) for p in pids if rank_of(int(p)) == str(rank))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")
def test_a_killed_rank_ends_the_job_and_resume_goes_on(tmp_path: Path) -> None:
    job = begun(
        tmp_path, *TINY, "--pretrain.epochs", "100000", "--pretrain.checkpoint-every", "5", "--out", "r"
    )
    checkpoints, deadline = Checkpoints(tmp_path / "r/pretrain"), time.monotonic() + 120
    while max(checkpoints.steps(), default=0) < 5 and time.monotonic() < deadline and job.poll() is None:
        time.sleep(0.1)
    os.kill(child(job.pid, 1), signal.SIGKILL)
    said = job.communicate(timeout=60)[1]
    assert job.returncode == 1
    assert said.count("error:") == 1
    assert "Process 1 of 2 (from 0) was ended by SIGKILL" in said
    assert "Continue: vaebm run --resume r --devices 2" in said
    assert "Traceback" not in said
    reached = checkpoints.steps()[-1]
    again = begun(tmp_path, "--resume", "r")
    while checkpoints.steps()[-1] <= reached and time.monotonic() < deadline and again.poll() is None:
        time.sleep(0.1)
    again.send_signal(signal.SIGTERM)
    said = again.communicate(timeout=60)[1]
    assert again.returncode == 130
    assert said.count("Stopped at step") == 1
    assert "vaebm run --resume r --devices 2" in said
    assert "Traceback" not in said
    assert checkpoints.steps()[-1] > reached
