"""Small runs made from Python. The dtype is the tests' float64: the models must not care."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vaebm_toolkit as vt

TINY: dict[str, dict[str, Any]] = {
    "dataset": {"limit": 200},
    "generator": {"channels": 4, "groups": 1, "latent": 2},
    "pretrain": {"epochs": 1, "bn_passes": 1, "log_every": 5},
    "energy": {"width": 4},
    "sampler": {"steps": 2},
    "trainer": {"steps": 4, "batch_size": 16, "log_every": 2, "checkpoint_every": 2},
    "sampling": {"steps": 2},
    "evaluate": {"samples": 20},
}
FLAGS = [
    word
    for table, values in TINY.items()
    for key, value in values.items()
    for word in (f"--{table}.{key}".replace("_", "-"), str(value))
]
"""the same for the command line"""


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run on the digits."""
    path = tmp_path_factory.mktemp("notebook") / "run"
    vt.run("digits", TINY, out=path)
    return path


@pytest.fixture
def model(run: Path) -> vt.Model:
    return vt.load(run)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run on the 25 Gaussians: vectors, and the MLP."""
    path = tmp_path_factory.mktemp("notebook") / "plane"
    short = {"steps": 5, "batch_size": 16}
    over = {
        "dataset": {"name": "gaussians25", "train_size": 200, "test_size": 100},
        "pretrain": short, "trainer": short, "sampling": {"steps": 3},
        "evaluate": {"samples": 20, "metrics": ["modes"]},
    }  # fmt: skip
    vt.run(None, over, out=path)
    return path
