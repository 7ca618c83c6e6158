"""Small runs whose pieces can be stopped, killed and damaged."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.launch import prepare
from vaebm_toolkit.pipeline import Pipeline
from vaebm_toolkit.registry import installed
from vaebm_toolkit.training.rundir import RunDirectory

TABLES = {
    "dataset": {"name": "digits", "limit": 100},
    "generator": {"name": "nvae", "channels": 4, "groups": 2, "latent": 2, "preprocess_cells": 1,
                  "postprocess_cells": 1, "cells_per_group_enc": 1, "cells_per_group_dec": 1},
    "pretrain": {"name": "vae", "steps": 12, "batch_size": 16, "warmup_epochs": 1.0, "log_every": 3,
                 "checkpoint_every": 4, "bn_passes": 2},
    "energy": {"name": "resnet", "width": 4},
    "sampler": {"name": "latent-ld", "steps": 2, "step_size": 0.01},
    "buffer": {"name": "replay", "capacity": 40, "anneal_steps": 4},
    "trainer": {"name": "vaebm", "steps": 12, "batch_size": 8, "lr": 1e-3, "log_every": 3,
                "checkpoint_every": 4, "ema": 0.9},
    "evaluate": {"samples": 0},
}  # fmt: skip


class Silent:
    """A reporter that remembers warnings, and may raise at a step."""

    def __init__(self, stop_at: tuple[str, int] | None = None) -> None:
        self.stop_at, self.warnings, self.at = stop_at, [], ""

    def stage(self, name: str, start: int, steps: int) -> None:
        self.at = name

    def step(self, step: int) -> None:
        if (self.at, step) == self.stop_at:
            raise KeyboardInterrupt

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def tables(without: Sequence[str] = (), **over: dict[str, object]) -> dict[str, dict[str, object]]:
    """TABLES, less those named in `without`, with `over` on top."""
    kept = {name: table for name, table in TABLES.items() if name not in without}
    return {name: {**table, **over.get(name, {})} for name, table in kept.items()} | {
        name: table for name, table in over.items() if name not in kept
    }


MLP_PAIR: dict[str, dict[str, object]] = {
    "generator": {"name": "mlp", "width": 16, "depth": 1},
    "energy": {"name": "mlp", "width": 16, "depth": 1},
    "pretrain": {"steps": 2},
}
"""Instead of NVAE and residual energy; without kept chains for trainers that move the generator too."""
NOT_OF_THE_PAIR = ("generator", "energy", "buffer")


def start(
    path: Path, reporter: Silent | None = None, without: Sequence[str] = (), **over: dict[str, object]
) -> None:
    recipe = recipes.resolve(tables(without, **over), installed())
    go(RunDirectory.create(path, recipe, []), reporter)


def resume(path: Path, reporter: Silent | None = None) -> None:
    go(RunDirectory.open(path, installed()), reporter)


def go(run: RunDirectory, reporter: Silent | None, stop: threading.Event | None = None) -> None:
    reporter = reporter or Silent()
    try:
        Pipeline(run, prepare(run.recipe), installed(), reporter, torch.device("cpu"), stop).work()
    finally:
        run.close()


@pytest.fixture
def dtype() -> torch.dtype:
    return torch.float32
