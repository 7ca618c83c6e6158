"""Calling `vaebm` in this process, as a user would from a shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from vaebm_toolkit import cli

TINY = [
    "--generator.channels", "4", "--generator.groups", "1", "--generator.latent", "2",
    "--energy.width", "4", "--pretrain.epochs", "1", "--pretrain.bn-passes", "1",
    "--pretrain.log-every", "5", "--trainer.steps", "4", "--trainer.batch-size", "16",
    "--trainer.log-every", "2", "--trainer.checkpoint-every", "2", "--sampler.steps", "2",
    "--sampling.steps", "2", "--evaluate.samples", "20", "--dataset.limit", "200", "--log.report", "false",
]  # fmt: skip


class Called(NamedTuple):
    code: int
    out: str
    err: str


Vaebm = Callable[..., Called]


@pytest.fixture
def vaebm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Vaebm:
    """`vaebm("plugins", "list")` -> exit code, stdout, stderr; the working folder is tmp_path."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> Called:
        monkeypatch.setattr("sys.argv", ["vaebm", *map(str, args)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as e:
            code = int(e.code or 0)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return Called(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run, made once."""
    path = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["vaebm", "run", *TINY, "--quiet", "--out", str(path)])
        cli.main()
    return path


@pytest.fixture
def dtype() -> torch.dtype:
    return torch.float32
