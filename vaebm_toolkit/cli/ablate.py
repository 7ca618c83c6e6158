"""`vaebm ablate`: a table of runs that differ in one thing each."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.ablation import summary as summaries
from vaebm_toolkit.ablation import tables as ablations
from vaebm_toolkit.cli import warn_of_problems
from vaebm_toolkit.cli.parts import KEY, PartsCommand, pairs, part_flag, tables_of
from vaebm_toolkit.cli.progress import reporter
from vaebm_toolkit.cli.tables import table
from vaebm_toolkit.errors import RecipeError, ToolkitError, quoted
from vaebm_toolkit.recipe import Table
from vaebm_toolkit.registry import Registry, installed

DEFAULT = "digits"


class AblateCommand(PartsCommand):
    """Flags for what all rows share: the data set and the evaluation."""

    tables = ("dataset",)
    plain = ("evaluate",)

    def first_look(self, args: list[str], registry: Registry) -> tuple[dict[str, Table], dict[str, Table]]:
        given = dict(pairs(args))
        chosen = {"dataset": {"name": given["--dataset"]}} if "--dataset" in given else {}
        return chosen, dict(ablations.read(given.get("--table", DEFAULT)).tables)


@click.command(
    "ablate",
    cls=AblateCommand,
    short_help="Reproduce the paper's baselines and ablations as one table.",
    epilog="Flags of the data set and of the evaluation count for every row, e.g. --dataset.root DIR, "
    "--evaluate.samples 2000.",
)
@click.option(
    "--table", "name", metavar="NAME|FILE", default=DEFAULT, show_default=True, help="Table to run."
)
@click.option("--list", "listing", is_flag=True, help="List the shipped tables.")
@part_flag("dataset", "Data set of all rows; by default the table's.")
@click.option("--rows", metavar="NAMES", help="Only these rows, e.g. vaebm,wgan.")
@click.option(
    "--seeds", metavar="NUMBERS", default="0,1,2", show_default=True, help="Every row once for each."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder; by default runs/ablation-TABLE.")
@click.option(
    "--generator-from",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Use this run's generator for all seeds; by default each seed trains one.",
)
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Rows at a time, a process each."
)
@click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, …; auto: CUDA if there is one."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "json"]),
    default="table",
    show_default=True,
    help="How to print the table; all forms are written to the folder.",
)
@click.option("--dry-run", is_flag=True, help="Print the rows and their settings; do nothing.")
@click.option("--quiet", "-q", is_flag=True, help="Only the table and warnings.")
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Run a table: rows that differ in one thing each, with one generator and one evaluation per seed.

    \b
    vaebm ablate                                              the paper's rows on the embedded digits
    vaebm ablate --table fashion_mnist --dataset.root DIR     the same on larger images
    vaebm ablate --rows generator,vaebm --seeds 0             a part of it
    vaebm ablate --table cifar10 --dry-run                    the published settings

    Every row is an ordinary run in OUT/seed-N/ROW. Stopped, or with more seeds or rows, the same command
    goes on: what is finished is not done again. OUT/table.md and OUT/table.json hold the table.
    """
    if given["listing"]:
        table(["table", "what"], [[n, recipes.summary(text)] for n, text in ablations.shipped().items()])
        click.echo("Next: vaebm ablate --table NAME --dry-run")
        return
    registry = installed()
    if not given["quiet"]:
        warn_of_problems()
    ablation = ablations.read(given["name"])
    if given["rows"] is not None:
        ablation = ablation.only([name.strip() for name in given["rows"].split(",") if name.strip()])
    over, seeds = changed(ctx.meta[KEY], tables_of(ctx)), seeds_of(given["seeds"])
    if given["dry_run"]:
        show(ablation, over, registry)
    else:
        work(ablation, over, seeds, registry, given)


def changed(base: Mapping[str, Table], now: Mapping[str, Table]) -> dict[str, Table]:
    """What the flags say: keys of the shared tables that are not as in the ablation."""
    found: dict[str, Table] = {}
    for name in (*AblateCommand.tables, *AblateCommand.plain):
        before = base.get(name, {})
        values = {k: v for k, v in now.get(name, {}).items() if before.get(k) != v}
        if values:
            found[name] = values
    return found


def seeds_of(text: str) -> list[int]:
    try:
        seeds = list(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0:
        raise RecipeError(f'--seeds: "{text}" is no list of whole numbers from 0.', "Write e.g. --seeds 0,1")
    return seeds


def show(ablation: ablations.Ablation, over: Mapping[str, Table], registry: Registry) -> None:
    """The rows and what each trains."""
    lines = []
    for row in ablation.rows:
        tables = ablation.recipe(row, 0, over, registry).tables()
        names = {t: v.get("name", "") for t, v in tables.items()}
        last = "trainer" if names["trainer"] != recipes.ABSENT else "pretrain"
        stage = tables[last]
        length = f"{stage['steps']} steps" if "steps" in stage else f"{stage['epochs']} epochs"
        parts = [names.get(t, "").replace(recipes.ABSENT, "") for t in ("energy", "sampler", "buffer")]
        lines.append([row.name, row.title, names[last], *parts, f"{length} of {stage['batch_size']}"])
    table(["row", "what", "trainer", "energy", "sampler", "buffer", "length"], lines)
    click.echo("A row's recipe is in OUT/seed-N/ROW/recipe.toml: an ordinary run.")


def work(
    ablation: ablations.Ablation,
    over: Mapping[str, Table],
    seeds: list[int],
    registry: Registry,
    given: dict[str, Any],
) -> None:
    """Run what is missing, write the table and print it."""
    from vaebm_toolkit.ablation.pictures import strips_of
    from vaebm_toolkit.ablation.work import Outcome, Task, run_all, tasks_of
    from vaebm_toolkit.training.device import choose_device
    from vaebm_toolkit.training.files import write, write_json
    from vaebm_toolkit.training.fit import Interrupted

    device = choose_device(given["device"])
    out = given["out"] or Path("runs") / f"ablation-{ablation.name}"
    stages = tasks_of(ablation, seeds, out, over, registry, given["generator_from"])
    progress, stop = reporter(given["quiet"]), threading.Event()
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, lambda *_: stop.set())
    total, done = sum(len(tasks) for tasks in stages), 0

    def started(task: Task) -> None:
        progress.note(f"seed {task.seed}, row {task.row}: {task.out}")

    def told(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        figures = "  ".join(f"{k} {v:.4g}" for k, v in outcome.figures.items())
        progress.note(f"{done}/{total}  seed {outcome.seed}, {outcome.row}: {figures or outcome.trouble}")

    progress.note(f"{total} runs, {given['jobs']} at a time, in {out}")
    try:
        outcomes = run_all(stages, given["jobs"], device, progress, stop, told, started)
    except Interrupted as e:
        again = f"The same command goes on in {quoted(out)}."
        raise Interrupted("Stopped; finished rows and checkpoints are kept.", again) from e
    finally:
        progress.end()
    found = summaries.summarise(ablation, outcomes)
    write(out / "table.md", summaries.markdown(found))
    write_json(out / "table.json", summaries.as_json(found, outcomes))
    picture = strips_of(ablation, out / f"seed-{seeds[0]}", out / "samples.png")
    if given["form"] == "markdown":
        click.echo(summaries.markdown(found), nl=False)
    elif given["form"] == "json":
        click.echo(json.dumps(summaries.as_json(found, outcomes), indent=1, ensure_ascii=False))
    else:
        table(summaries.head(found), summaries.cells(found))
        for note in summaries.notes(found):
            click.echo(note)
        for file in (out / "table.md", out / "table.json", picture):
            if file is not None:
                click.echo(f"{file}")
    if not any(row.figures for row in found.rows):
        raise ToolkitError("No row has figures.", f"Read why in {quoted(out / 'table.md')}.")
