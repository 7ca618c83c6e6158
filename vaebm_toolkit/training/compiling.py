"""Whether a stage's chains go through torch.compile: decided once, said, and kept with the run."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Protocol

import torch

from vaebm_toolkit.core import Trainer, ranks
from vaebm_toolkit.errors import RunError
from vaebm_toolkit.training.files import write_json
from vaebm_toolkit.training.rundir import read_json

LONG = 3600.0
"""Seconds of training left above which it pays: compiling takes one to two minutes, and saves up to a sixth
of a Langevin step on a CPU (docs/performance.md)."""


class Listener(Protocol):
    def note(self, text: str) -> None: ...


class Compiling:
    """`auto` decides when the pace of the first steps is known; a resumed stage does what was decided.

    Compiled chains differ from others by rounding, so the step from which they are compiled is kept in
    `file`: an interrupted stage repeats an uninterrupted one.
    """

    def __init__(self, choice: str, file: Path, trainer: Trainer, told: Listener) -> None:
        """choice: "auto", "on" or "off", [run] compile of the recipe."""
        self.choice, self.file, self.trainer, self.told = choice, file, trainer, told
        self.on = False
        self.since: int | None = None
        """step from which chains are compiled"""
        self.decided = choice != "auto"
        if choice == "on":
            self.since = 0
        elif choice == "auto" and ranks.from_first(file.is_file):
            self.since, self.decided = ranks.from_first(lambda: read_json(file))["since"], True

    def begin(self, step: int) -> None:
        """Before each step. RunError where compiling was asked for and cannot be done here."""
        if self.on or self.since is None or step < self.since:
            return
        why_not = unable()
        if why_not is not None:
            raise RunError(
                f"torch.compile does not work here: {why_not}.",
                "Install what it names, or start a run without: --compile off",
            )
        self.on = True
        if self.trainer.compile():
            self.told.note("chains are compiled: the first step takes a minute or two longer")
        elif self.choice == "on":
            self.told.note("nothing to compile: this stage runs no chains")

    def consider(self, step: int, steps: int, seconds: float) -> None:
        """After `step` of `steps` steps at `seconds` each: `auto` decides, at the first call."""
        if self.decided:
            return
        self.decided = True
        left = (steps - step) * seconds
        self.since = ranks.from_first(lambda: step if left > LONG and unable() is None else None)
        if ranks.rank() == 0:
            write_json(self.file, {"since": self.since})


@functools.cache
def unable() -> str | None:
    """Why torch.compile does not work on this machine, e.g. for want of a C++ compiler; None if it does."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(4))
    except Exception as e:  # torch names a dozen kinds, none of them public
        return str(e).strip().splitlines()[0]
    return None
