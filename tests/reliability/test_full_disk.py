"""A full disk: one message, and what was complete stays whole."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from vaebm_toolkit.errors import RunError
from vaebm_toolkit.training.checkpoint import Checkpoints, read_state

from .conftest import Silent, resume, start


@pytest.fixture
def tiny_disk(tmp_path: Path):
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True)
    if done.returncode:
        pytest.skip(f"tmpfs cannot be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_nothing_is_lost_on_a_full_disk(tiny_disk: Path, tmp_path: Path) -> None:
    run = tiny_disk / "run"
    over = {"pretrain": {"checkpoint_every": 1, "keep": 50, "steps": 30}}
    with pytest.raises(RunError) as e:
        start(run, Silent(), **over)
    assert "the disk is full" in e.value.message
    assert f"vaebm run --resume {run}" in e.value.fix
    checkpoints = Checkpoints(run / "pretrain", keep=50)
    steps = checkpoints.steps()
    assert steps
    for step in steps:
        read_state(checkpoints.path(step))
    for step in steps[:-1]:  # make room, as the message asks
        shutil.rmtree(checkpoints.path(step))
    roomy = tmp_path / "roomy"
    shutil.copytree(run, roomy)
    resume(roomy)
    start(tmp_path / "whole", Silent(), **over)
    a, b = (p / "train/networks.safetensors" for p in (roomy, tmp_path / "whole"))
    assert a.read_bytes() == b.read_bytes()
