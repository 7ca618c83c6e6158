"""When chains are compiled: decided once, said, kept; and that it changes results by rounding alone."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from vaebm_toolkit import RunError
from vaebm_toolkit.training import compiling
from vaebm_toolkit.training.compiling import LONG, Compiling

from .conftest import MLP_PAIR, NOT_OF_THE_PAIR, start


class Told:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.compiled = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def compile(self) -> bool:
        self.compiled += 1
        return True


def stage(file: Path, choice: str = "auto") -> tuple[Compiling, Any]:
    told: Any = Told()
    return Compiling(choice, file, told, told), told


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "unable", lambda: None)


@pytest.mark.parametrize(("seconds", "pays"), [(2.0, True), (0.01, False)])
def test_auto_compiles_where_more_than_an_hour_is_left(tmp_path: Path, seconds: float, pays: bool) -> None:
    made, told = stage(tmp_path / "compile.json")
    made.begin(0)
    made.consider(25, 10_000, seconds)
    assert pays == ((10_000 - 25) * seconds > LONG)
    made.begin(25)
    assert told.compiled == pays
    assert len(told.notes) == pays


def test_a_resumed_stage_does_what_was_decided(tmp_path: Path) -> None:
    stage(tmp_path / "compile.json")[0].consider(25, 10_000, 2.0)
    made, told = stage(tmp_path / "compile.json")
    made.begin(24)
    assert not told.compiled
    made.begin(25)
    made.begin(26)
    made.consider(50, 10_000, 1e-3)  # another pace decides nothing
    assert told.compiled == 1
    assert json.loads((tmp_path / "compile.json").read_text()) == {"since": 25}


def test_off_never_compiles_and_on_says_why_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, told = stage(tmp_path / "compile.json", "off")
    made.consider(25, 10_000, 2.0)
    made.begin(26)
    assert not told.compiled
    monkeypatch.setattr(compiling, "unable", lambda: "No working C++ compiler found")
    with pytest.raises(RunError, match=r"No working C\+\+ compiler found"):
        stage(tmp_path / "compile.json", "on")[0].begin(0)
    made, told = stage(tmp_path / "compile.json")
    made.consider(25, 10_000, 2.0)  # auto goes on without
    made.begin(25)
    assert not told.compiled


def test_compiled_chains_differ_by_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An energy stage on the same weights and noise. Captured as always, but run without generated code."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    losses = {}
    for choice in ("on", "off"):
        run = tmp_path / choice
        start(
            run,
            None,
            NOT_OF_THE_PAIR,
            **MLP_PAIR,
            run={"compile": choice},
            trainer={"steps": 2, "log_every": 1},
        )
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        losses[choice] = [r["energy_loss"] for r in log if r["stage"] == "train"]
    assert len(losses["on"]) == 2
    assert losses["on"] == pytest.approx(losses["off"], rel=1e-5)
