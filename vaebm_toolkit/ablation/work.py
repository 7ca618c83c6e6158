"""Running an ablation: each row of each seed is an ordinary run; what is finished is not done again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.ablation.summary import Outcome
from vaebm_toolkit.ablation.tables import GENERATOR, Ablation, Row, of_row
from vaebm_toolkit.errors import RecipeError, RunError, ToolkitError
from vaebm_toolkit.launch import begin, go_on, prepare
from vaebm_toolkit.pipeline import Pipeline
from vaebm_toolkit.recipe import Recipe, Table
from vaebm_toolkit.registry import Registry, installed
from vaebm_toolkit.results import Diverged
from vaebm_toolkit.training.fit import Interrupted, Reporter
from vaebm_toolkit.training.rundir import STAGES, RunDirectory, read_json, read_log


class Task(NamedTuple):
    """One row with one seed."""

    row: str
    seed: int
    tables: Mapping[str, Table]
    """its resolved recipe"""
    out: Path
    generator: Path | None
    """the run whose generator it takes"""


def tasks_of(
    ablation: Ablation,
    seeds: list[int],
    out: Path,
    over: Mapping[str, Table],
    registry: Registry,
    generator: Path | None = None,
) -> list[list[Task]]:
    """Every row and seed, checked to fit the data; what a later list needs is in an earlier one.

    Without `generator`, a run, each seed trains the one that its rows share.
    """
    trained, rest = [], []
    rows = ablation.rows
    if generator is None and GENERATOR not in [row.name for row in rows]:
        rows = (Row(GENERATOR, GENERATOR, {}), *rows)
    for seed in seeds:
        folder = out / f"seed-{seed}"
        shared = folder / GENERATOR if generator is None else generator
        for row in rows:
            recipe = ablation.recipe(row, seed, over, registry)
            if generator is not None and "generator" in recipe.parts:
                recipe = with_generator(recipe, generator, registry)
            refuse_other(folder / row.name, recipe)
            source = shared if "generator" in recipe.parts else None
            source = generator if row.name == GENERATOR else source
            task = Task(row.name, seed, recipe.tables(), folder / row.name, source)
            (trained if row.name == GENERATOR else rest).append(task)
            if seed == seeds[0]:
                with of_row(row.name):
                    prepare(recipe)
    return [tasks for tasks in (trained, rest) if tasks]


def with_generator(recipe: Recipe, source: Path, registry: Registry) -> Recipe:
    """The recipe with the generator, and its stage, of the run `source`."""
    stored = RunDirectory.open(source, registry).recipe.tables()
    shared = {table: stored[table] for table in ("generator", "pretrain") if table in stored}
    if "generator" not in shared:
        raise RecipeError(f"The run {source} has no generator.", "Choose another run.")
    return recipes.resolve({**recipe.tables(), **shared}, registry)


def refuse_other(path: Path, recipe: Recipe) -> None:
    """A RecipeError where a run with another recipe is at the row's place."""
    file = path / "recipe.toml"
    if file.is_file() and recipes.read(file) != recipe.tables():
        raise RecipeError(
            f"{path} holds this row with other settings.",
            "Choose another --out, or remove that folder to run the row again.",
        )


def run_all(
    stages: list[list[Task]],
    jobs: int,
    device: torch.device,
    reporter: Reporter,
    stop: threading.Event,
    told: Callable[[Outcome], None],
    started: Callable[[Task], None],
) -> list[Outcome]:
    """Work on the tasks, stage after stage, `jobs` at a time, each in a process of its own if jobs > 1."""
    found: list[Outcome] = []
    for tasks in stages:
        alone = jobs == 1 or len(tasks) == 1
        for outcome in (
            one_by_one(tasks, device, reporter, stop, started)
            if alone
            else at_once(tasks, jobs, device, stop)
        ):
            found.append(outcome)
            told(outcome)
    return found


def one_by_one(
    tasks: list[Task],
    device: torch.device,
    reporter: Reporter,
    stop: threading.Event,
    started: Callable[[Task], None],
) -> Iterator[Outcome]:
    metrics: dict[str, Any] = {}
    for task in tasks:
        started(task)
        yield work(task, device, reporter, stop, metrics)


def at_once(tasks: list[Task], jobs: int, device: torch.device, stop: threading.Event) -> Iterator[Outcome]:
    """Outcomes as they come. After a stop or an error, begun tasks end where they can be continued."""
    context, left = get_context("spawn"), list(tasks)
    begun: dict[Any, tuple[Task, Any]] = {}  # receiving end of a pipe -> task, process
    try:
        while left or begun:
            while left and len(begun) < jobs:
                task = left.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=work_alone, args=(task, str(device), sender))
                process.start()
                sender.close()  # the process has its own; without it, the pipe ends when that is gone
                begun[receiver] = task, process
            for receiver in wait(list(begun), timeout=1):
                task, process = begun.pop(receiver)
                yield said(receiver, task)
                process.join()
            if stop.is_set():
                raise Interrupted("Stopped.")
    finally:
        for _, process in begun.values():
            process.terminate()
        for _, process in begun.values():
            process.join()


def said(receiver: Any, task: Task) -> Outcome:
    """What a task's process sent: its outcome, or the error that it ended with."""
    try:
        found = receiver.recv()
    except EOFError:
        raise RunError(
            f"The process of row {task.row}, seed {task.seed}, ended without a word.",
            "If it was killed for memory, take fewer --jobs. The same command goes on.",
        ) from None
    if isinstance(found, ToolkitError):
        raise found
    outcome: Outcome = found
    return outcome


def work_alone(task: Task, device: str, sender: Any) -> None:
    """`work` in a process of its own: Ctrl-C and SIGTERM write a checkpoint before they end it."""
    import signal

    stop = threading.Event()
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, lambda *_: stop.set())
    try:
        sender.send(work(task, torch.device(device), Silent(), stop, {}))
    except ToolkitError as e:
        sender.send(e)


class Silent:
    """Tells nothing; trouble is in the outcome."""

    def stage(self, name: str, start: int, steps: int) -> None: ...
    def step(self, step: int) -> None: ...
    def metrics(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


def work(
    task: Task, device: torch.device, reporter: Reporter, stop: threading.Event, metrics: dict[str, Any]
) -> Outcome:
    """Run the task, or go on with it, or read what it ended with. A chain that diverges is an outcome.

    metrics: objects shared by tasks in this process, so that features are fitted to the data once.
    """
    registry = installed()
    if not (task.out / "metrics.json").is_file():
        if (task.out / "recipe.toml").is_file():
            dataset, run = go_on(task.out, registry)
        else:
            recipe = recipes.resolve(task.tables, registry)
            dataset, run = begin(recipe, registry, task.out, sys.argv, generator_from=task.generator)
        run.lock()
        try:
            Pipeline(run, dataset, registry, reporter, device, stop, metrics).work()
        except Diverged as e:
            return Outcome(task.row, task.seed, {}, {}, seconds(run.path), e.message)
        finally:
            run.close()
    return outcome_of(task)


def outcome_of(task: Task) -> Outcome:
    """What a finished run of the task says."""
    results = read_json(task.out / "metrics.json")
    recipe_name = task.tables.get("trainer", {}).get("name", "none")
    figures = results["figures"][GENERATOR if recipe_name == "none" else recipe_name]
    trouble = None
    for stage in STAGES:
        done = task.out / stage / "done.json"
        if done.is_file():
            trouble = read_json(done).get("stopped") or trouble
    return Outcome(task.row, task.seed, figures, results["protocol"], seconds(task.out), trouble)


def seconds(run: Path) -> float:
    """Wall seconds of the run's training steps, by its log."""
    total, last = 0.0, {}
    for record in read_log(run / "log.jsonl"):
        if "seconds_per_step" in record:
            stage = record["stage"]
            total += record["seconds_per_step"] * (record["step"] - last.get(stage, 0))
            last[stage] = record["step"]
    return total
