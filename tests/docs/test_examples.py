"""The examples run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_plain_vaebm_runs() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples/plain_vaebm.py", "--vae-steps", "20", "--energy-steps", "100"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "step 100: energy gap" in done.stdout
