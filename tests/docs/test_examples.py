"""The examples run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_plain_vaebm_runs() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples/plain_vaebm.py", "--vae-steps", "20", "--energy-steps", "100"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "step 100: energy gap" in done.stdout


@pytest.mark.slow
def test_long_chains_of_a_run(tmp_path: Path) -> None:
    python = [sys.executable]
    small = ["--pretrain.steps", "2", "--trainer.steps", "2", "--evaluate.samples", "0"]
    run = [*python, "-m", "vaebm_toolkit", "run", "--dataset", "gaussians25", *small, "--out", "r"]
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)
    script = [ROOT / "benchmarks/long_chains.py", "r", "--steps", "1", "3", "--count", "20", "--out", "c.png"]
    done = subprocess.run([*python, *script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[:2] for line in done.stdout.splitlines()[2:]]
    assert rows == [["| exact", "1"], ["| exact", "3"], ["| official", "1"], ["| official", "3"]]
    assert (tmp_path / "c.png").exists()
