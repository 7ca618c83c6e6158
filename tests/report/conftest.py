"""Small runs of every form, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from vaebm_toolkit import cli

from ..cli.conftest import TINY, finished, vaebm

__all__ = ["finished", "vaebm"]

PLANE = [
    "--dataset", "gaussians25", "--pretrain.steps", "4", "--trainer.steps", "4", "--trainer.log-every", "2",
    "--evaluate.samples", "20", "--evaluate.metrics", "frechet", "--sampling.steps", "3",
    "--dataset.train-size", "400", "--dataset.test-size", "100", "--pretrain.batch-size", "64",
    "--trainer.batch-size", "64", "--generator.width", "8", "--energy.width", "8",
    "--log.report", "false",
]  # fmt: skip


def made(path: Path, *args: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["vaebm", "run", *args, "--quiet", "--out", str(path)])
        cli.main()
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run on images, to change as one likes."""
    return Path(shutil.copytree(finished, tmp_path / "0001-digits"))


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on points of the plane."""
    return made(tmp_path_factory.mktemp("plane") / "0002-gaussians25", *PLANE)


@pytest.fixture(scope="session")
def generator_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny = dict(zip(TINY[::2], TINY[1::2], strict=True))
    kept = [
        w for k, v in tiny.items() if k.startswith(("--generator", "--pretrain", "--dataset")) for w in (k, v)
    ]
    path = tmp_path_factory.mktemp("alone") / "0003-alone"
    return made(path, *kept, "--trainer", "none", "--evaluate.samples", "0")


@pytest.fixture
def dtype() -> torch.dtype:
    return torch.float32
