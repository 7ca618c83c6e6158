"""What a run directory says about itself, read from its files; no network is built."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from vaebm_toolkit.citation import bibliography
from vaebm_toolkit.errors import RunError, ToolkitError, quoted
from vaebm_toolkit.evaluation import records
from vaebm_toolkit.evaluation.records import Record
from vaebm_toolkit.registry import Registry
from vaebm_toolkit.training.rundir import DATA, ENVIRONMENT, STAGES, RunDirectory, read_json, read_log

TITLES = {"pretrain": "Generator stage", "train": "Energy stage"}
Series = Mapping[str, list[tuple[float, float | None]]]
"""logged name -> (step, value), None where the value was not finite"""


@frozen
class Stage:
    """How far one stage of training came."""

    name: str
    title: str
    trainer: str
    step: int
    steps: int | None
    seconds: float
    state: str
    """in words: finished, stopped, went back, taken from another run, not finished, not begun"""
    detail: str
    """why, or what to do; empty where all is well"""
    healthy: bool
    series: Series


@frozen
class RunFacts:
    """One run, as its files tell it."""

    directory: RunDirectory
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    stages: list[Stage]
    records: list[Record]
    likelihood: Mapping[str, Any]
    damaged: list[RunError]
    """files that cannot be read, which the page is made without"""

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def seconds(self) -> float:
        return sum(s.seconds for s in self.stages)

    @property
    def recipe(self) -> str:
        return str(self.directory.recipe)

    @property
    def tables(self) -> Mapping[str, Mapping[str, Any]]:
        return self.directory.recipe.tables()

    @property
    def finished(self) -> bool:
        return all(self.directory.done(s.name) is not None for s in self.stages)

    @property
    def resume(self) -> str:
        return f"vaebm run --resume {quoted(self.path)}"

    def parts(self) -> Iterator[tuple[str, str, str]]:
        """(table of the recipe, name of its part, the package it came from)."""
        came_from = {(p.get("kind"), p.get("name")): p for p in self.environment.get("parts", [])}
        for table, part in self.directory.recipe.parts.items():
            p = came_from.get((part.registered.component.kind, part.name), {})
            package = f"{p.get('distribution', '')} {p.get('version', '')}".strip()
            yield table, self.directory.recipe.names[table], package

    def commands(self) -> list[tuple[str, str]]:
        """(what it does, command): everything that makes this run again, or goes on from it."""
        found = []
        command = self.environment.get("command")
        if isinstance(command, list) and command:
            found.append(("The command that made it", " ".join(["vaebm", *map(quoted, command[1:])])))
        here = quoted(self.path)
        return [
            *found,
            ("The same run again", f"vaebm run --recipe {quoted(self.path / 'recipe.toml')}"),
            ("More samples", f"vaebm sample {here} --count 1000 --out samples.npz"),
            ("This page again", f"vaebm report {here}"),
            ("What to cite", f"vaebm cite {here}"),
        ]

    def citations(self) -> str:
        try:
            return bibliography(self.directory.recipe.components)
        except ToolkitError as e:
            return str(e)


def facts(path: Path, registry: Registry) -> RunFacts:
    """A run's facts; whatever it has not come to is empty."""
    run = RunDirectory.open(path, registry)
    log = read_log(path / "log.jsonl")
    stages = [stage(run, name, log) for name, table in STAGES.items() if table in run.recipe.parts]
    damaged: list[RunError] = []
    return RunFacts(
        run, mapping(path / ENVIRONMENT, damaged), mapping(path / DATA, damaged), stages,
        measured(path, damaged), mapping(path / "likelihood.json", damaged), damaged,
    )  # fmt: skip


def mapping(file: Path, damaged: list[RunError]) -> Mapping[str, Any]:
    """A JSON object; {} where there is no such file, or one that cannot be read and joins `damaged`."""
    try:
        found = read_json(file) if file.is_file() else {}
    except RunError as e:
        damaged.append(RunError(e.message, f"Set it aside: mv {quoted(file)} {quoted(file)}.damaged"))
        return {}
    return found if isinstance(found, dict) else {}


def measured(path: Path, damaged: list[RunError]) -> list[Record]:
    """The run's records, or those that its final table stands for where it has no others."""
    try:
        if found := records.read(path):
            return found
    except RunError as e:
        damaged.append(e)
    found = []
    kept = mapping(path / "metrics.json", damaged)
    protocol = dict(kept.get("protocol", {}))
    own = {k: protocol.pop(k) for k in list(protocol) if isinstance(protocol[k], dict) and k != "sampler"}
    for model, figures in kept.get("figures", {}).items():
        groups: dict[str, dict[str, float]] = {}
        for name, value in figures.items():
            groups.setdefault(name if name in own else "", {})[name] = value
        shared = {k: v for k, v in protocol.items() if k != "sampler" or model != "generator"}
        for metric, values in groups.items():
            metric_name = metric or next(iter(values))
            found.append(records.record(model, metric_name, "", values, {**shared, **own.get(metric, {})}))
    return found


def stage(run: RunDirectory, name: str, log: list[dict[str, Any]]) -> Stage:
    """What done.json and the log say about a stage."""
    lines = [r for r in log if isinstance(r, dict) and r.get("stage") == name and number(r.get("step"))]
    done = run.done(name)
    last = max((int(r["step"]) for r in lines), default=0)
    settings = run.recipe.parts[STAGES[name]].stage
    steps = (done or {}).get("steps") or (None if settings is None else settings.steps)
    goes_on = f"Go on: vaebm run --resume {quoted(run.path)}"
    if done is None:
        state, detail, healthy = ("not finished" if lines else "not begun"), goes_on, False
    elif done.get("diverged"):
        state, detail, healthy = "diverged and went back", str(done.get("stopped")), False
    elif done.get("stopped"):
        state, detail, healthy = "stopped early", str(done["stopped"]), False
    elif "from" in done:
        state, detail, healthy = "taken from another run", str(done["from"]), True
    else:
        state, detail, healthy = "finished", "", True
    step = last if done is None else int(done.get("step", last))
    return Stage(
        name, TITLES[name], run.recipe.names[STAGES[name]], step, steps, seconds(lines), state, detail,
        healthy, series(lines),
    )  # fmt: skip


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def seconds(lines: list[dict[str, Any]]) -> float:
    """Training time: each logged step's seconds per step, times the steps since the one before."""
    total, before = 0.0, 0
    for r in sorted(lines, key=lambda r: r["step"]):
        if number(r.get("seconds_per_step")):
            total += r["seconds_per_step"] * max(r["step"] - before, 0)
        before = r["step"]
    return total


def series(lines: list[dict[str, Any]]) -> Series:
    """Every logged number by name; what was not finite is a gap."""
    found: dict[str, list[tuple[float, float | None]]] = {}
    for r in sorted(lines, key=lambda r: r["step"]):
        for name, value in r.items():
            if name in ("stage", "step"):
                continue
            finite = number(value) and math.isfinite(value)
            found.setdefault(name, []).append((float(r["step"]), float(value) if finite else None))
    return {k: points for k, points in found.items() if any(v is not None for _, v in points)}
