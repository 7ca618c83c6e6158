"""`vaebm run` with these samplers, in training and at test time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from vaebm_toolkit import cli

TINY = [
    "--dataset", "gaussians25", "--dataset.train-size", "400", "--dataset.test-size", "100",
    "--generator.width", "8", "--generator.depth", "1", "--energy.width", "8", "--pretrain.steps", "4",
    "--trainer.steps", "4", "--trainer.batch-size", "16", "--trainer.log-every", "2",
    "--trainer.prior-jumps", "0", "--evaluate.samples", "20", "--evaluate.metrics", "modes", "--quiet",
    "--log.report", "false",
]  # fmt: skip


@pytest.fixture
def dtype() -> torch.dtype:
    return torch.float32


def run(monkeypatch: pytest.MonkeyPatch, path: Path, *flags: str) -> list[dict[str, Any]]:
    """What the second stage has logged, and after it what the samples are."""
    monkeypatch.setattr("sys.argv", ["vaebm", "run", *TINY, *flags, "--out", str(path)])
    cli.main()
    lines = (path / "log.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    return [r for r in logged if r["stage"] == "train"] + [json.loads((path / "metrics.json").read_text())]


@pytest.mark.parametrize("name", ["latent-mala", "latent-hmc", "latent-tempered"])
def test_training(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of training log what the last step of their chains had to say."""
    *logged, found = run(monkeypatch, tmp_path / "r", "--sampler", name, "--sampler.steps", "3")
    assert len(logged) == 2
    for record in logged:
        assert 0 < record["chain_acceptance"] <= 1
        assert record["chain_step_size"] > 0
        assert ("chain_jumps" in record) == ("chain_exchanges" in record) == (name == "latent-tempered")
    assert found["protocol"]["sampler"]["name"] == name


def test_another_sampler_at_test_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained with Langevin dynamics, sampled by Hamiltonian Monte Carlo: the same for any batch size."""
    flags = ["--sampling", "latent-hmc", "--sampling.steps", "4", "--evaluate.batch-size", "10"]
    *logged, found = run(monkeypatch, tmp_path / "r", *flags)
    assert all("chain_acceptance" not in record for record in logged)
    assert found["protocol"]["sampler"]["name"] == "latent-hmc"
    for size in ("7", "20"):
        out = str(tmp_path / f"{size}.npz")
        monkeypatch.setattr(
            "sys.argv",
            ["vaebm", "sample", str(tmp_path / "r"), "-n", "20", "--batch-size", size, "--out", out],
        )
        cli.main()
    import numpy as np

    few, many = (np.load(tmp_path / f"{size}.npz") for size in ("7", "20"))
    for key in few.files:
        np.testing.assert_allclose(few[key], many[key], rtol=0, atol=1e-4)
