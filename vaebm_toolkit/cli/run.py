"""`vaebm run`: the whole pipeline."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.cli import plugin_option, warn_of_problems
from vaebm_toolkit.cli.devices import (
    apart,
    devices_option,
    going_on,
    joined,
    launch,
    launched,
    leads,
    telling_lost_ranks,
)
from vaebm_toolkit.cli.parts import PartOption, PartsCommand, flag, part_flag, tables_of
from vaebm_toolkit.cli.progress import Silent, reporter
from vaebm_toolkit.errors import RecipeError, ToolkitError, quoted
from vaebm_toolkit.options import slots
from vaebm_toolkit.registry import Registry, installed

FIXED_BY_RESUME = {"resume", "device", "devices", "quiet"}


@click.command(
    "run",
    cls=PartsCommand,
    short_help="Train a generator and an energy on your data, sample, compare.",
    epilog="Every option of a chosen part is a flag, e.g. --sampler.step-size 1e-4. See them all: "
    "vaebm run --generator nvae --sampler latent-ld --help, or vaebm plugins show NAME.",
)
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    multiple=True,
    help="Recipe to start from; by default the data set's own. A second one lies over the first, e.g. "
    "official or paper.",
)
@part_flag("dataset", "What to learn from: digits (default), image-folder, npz, mnist, …")
@part_flag("generator", "Maps noise to data, e.g. nvae.")
@part_flag("pretrain", "Trainer of the generator's own stage, e.g. vae.")
@part_flag("energy", "Corrects the generator, e.g. resnet.")
@part_flag("sampler", "Draws from their product in training, e.g. latent-ld.")
@part_flag("buffer", 'Keeps chain ends for later starts, e.g. replay; or "none".')
@part_flag("trainer", 'Trains the energy, e.g. vaebm; or "none" for the generator alone.')
@part_flag("sampling", "Sampler at test time; by default the training sampler.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory; by default runs/NNNN-DATASET.")
@click.option(
    "--generator-from",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Take this run's generator of the first stage, and its recipe for what is not given; skip it.",
)
@click.option(
    "--energy-from",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Train this run's energy further, with its optimiser's state where it has one.",
)
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Continue this run.")
@click.option("--seed", type=click.IntRange(0), help="Seed of every random stream.")
@click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, …; auto: CUDA if there is one."
)
@devices_option
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="bf16: autocast, float32 state.")
@click.option(
    "--compile",
    type=click.Choice(["auto", "on", "off"]),
    help="torch.compile of chains in training; auto: where more than an hour is left.",
)
@click.option(
    "--threads", type=click.IntRange(1), help="CPU threads of each process; by default the recipe's."
)
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard event files.")
@click.option(
    "--dry-run", is_flag=True, help="Print the resolved recipe, its cost, and whether it fits; do nothing."
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="With --dry-run: of the device that it must fit, e.g. 16GiB; by default --device's own.",
)
@click.option("--quiet", "-q", is_flag=True, help="Only the result and warnings.")
@plugin_option
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Train a generator and an energy on your data, sample from both, compare.

    \b
    vaebm run                                             the digits inside the package
    vaebm run --dataset image-folder --dataset.path DIR   your own images
    vaebm run --recipe vaebm-cifar10 --dry-run            what a published setting would cost
    """
    registry = installed()
    if given["memory"] is not None and not given["dry_run"]:
        raise RecipeError("--memory asks what would fit; it bounds no run.", "Add --dry-run.")
    if not leads():
        if not given["dry_run"]:
            execute(None, registry, given)
        return
    if not given["quiet"]:
        warn_of_problems()
    if given["resume"] is not None:
        refuse_changes(ctx, given["resume"])
        if apart(given["devices"]):
            on = given["devices"], given["device"]
            launch(*on, partial(going_on, given["resume"], *on))
            return
        from vaebm_toolkit.launch import go_on

        execute(lambda: go_on(given["resume"], registry), registry, given)
        return
    tables = tables_of(ctx)
    refuse_unused(ctx, tables, registry)
    given["generator_from"] = generator_source(tables, given, registry)
    recipe = recipes.resolve(with_flags(tables, given, registry), registry)
    if given["dry_run"]:
        from vaebm_toolkit.training.device import choose_device
        from vaebm_toolkit.training.estimate import describe
        from vaebm_toolkit.training.fits import room_of

        devices = given["devices"] or 1
        room = room_of(choose_device(given["device"]), given["memory"], devices)
        click.echo(recipes.dumps(recipe.tables(), header=describe(recipe, room, devices)))
        return
    if apart(given["devices"]):
        from vaebm_toolkit.training.rundir import RunDirectory

        out = where(recipe, given)
        RunDirectory.refuse_taken(out)
        more = [] if given["out"] else ["--out", str(out)]
        on = given["devices"], given["device"]
        launch(*on, partial(going_on, out, *on), *more)
        return
    execute(lambda: new_run(recipe, registry, given), registry, given)


def refuse_unused(ctx: click.Context, tables: dict[str, Any], registry: Registry) -> None:
    """A flag for a part that the trainer has no use for would silently do nothing."""
    unused = recipes.unused_tables(tables, registry)
    flags = [
        (o.table, flag(o.table, o.field.key))
        for o in ctx.command.get_params(ctx)
        if isinstance(o, PartOption) and ctx.params.get(o.name or "") is not None
    ]
    flags += [(t, f"--{t}") for t in recipes.SLOTS if ctx.params.get(t) not in (None, recipes.ABSENT)]
    for table, name in flags:
        if table not in unused:
            continue
        trainer = str(tables.get("trainer", {}).get("name", recipes.DEFAULT_TRAINER))
        kind = {"pretrain": "generator", "sampling": "sampler"}.get(table, table)
        known = slots(registry.find("trainer", trainer).component.options).values()
        when = next((s.when for s in known if s.kind == kind and s.when is not None), None)
        instead = "" if when is None else f", or use one: {flag('trainer', when[0])} {when[1]}"
        article = "an" if kind == "energy" else "a"
        raise RecipeError(
            f"{name}: the trainer {trainer} as set here has no use for {article} {kind}.",
            f"Leave it out{instead}.",
        )


def generator_source(tables: dict[str, Any], given: dict[str, Any], registry: Registry) -> Path | None:
    """--generator-from; an energy that corrects a generator goes on with it unless another is asked for."""
    chosen: Path | None = given["generator_from"]
    source: Path | None = given["energy_from"]
    if chosen is not None or source is None or given["generator"] is not None:
        return chosen
    corrects = (source / "pretrain" / "done.json").is_file()
    return source if corrects and "generator" in recipes.used(tables, registry) else None


def with_flags(tables: dict[str, Any], given: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """--seed, --precision, --compile, --threads, --generator-from, --energy-from as parts of the recipe."""
    for key in ("seed", "precision", "compile", "threads"):
        if given[key] is not None:
            tables.setdefault("run", {})[key] = given[key]
    if given["tensorboard"]:
        tables.setdefault("log", {})["tensorboard"] = True
    if given["generator_from"] is not None:
        tables.update(trained(given, "generator", ("generator", "pretrain"), registry))
    if given["energy_from"] is not None:
        if tables.get("trainer", {}).get("name") == recipes.ABSENT:
            raise RecipeError(
                "--energy-from names an energy to train further, but the trainer is none.",
                "Choose a trainer, e.g. --trainer vaebm, or leave --energy-from out.",
            )
        tables.update(trained(given, "energy", ("energy",), registry))
    return tables


def trained(
    given: dict[str, Any], kind: str, tables: tuple[str, ...], registry: Registry
) -> dict[str, recipes.Table]:
    """The recipe's `tables` of the run that a trained generator or energy is taken from."""
    from vaebm_toolkit.training.rundir import RunDirectory

    source = given[f"{kind}_from"]
    stored = RunDirectory.open(source, registry).recipe.tables()
    if stored.get(kind, {}).get("name", recipes.ABSENT) == recipes.ABSENT:
        raise RecipeError(f"The run {source} has no {kind}.", "Choose another run.")
    refuse_flags(source, kind, tables)
    if given[kind] is not None and given[kind] != stored[kind]["name"]:
        article = "an" if kind == "energy" else "a"
        raise RecipeError(
            f'{source} holds {article} {kind} "{stored[kind]["name"]}", not "{given[kind]}".',
            f"Leave --{kind} out: it is taken from the run.",
        )
    return {table: stored[table] for table in tables}


def refuse_flags(source: Path, kind: str, tables: tuple[str, ...]) -> None:
    """A trained network comes with its options; a flag for them would silently do nothing."""
    for given in click.get_current_context().params.items():
        table = given[0].partition("__")[0]
        if "__" in given[0] and table in tables and given[1] is not None:
            flag = "--" + given[0].replace("__", ".").replace("_", "-")
            raise RecipeError(
                f"{flag} cannot be given: the {kind} comes trained from {source}.",
                f"Leave it out, or train another {kind}: vaebm run {flag} {given[1]}",
            )


def refuse_changes(ctx: click.Context, run: Path) -> None:
    """A resumed run keeps its recipe; say how to change it instead."""
    from click.core import ParameterSource

    changed = [
        p for p in ctx.params
        if ctx.get_parameter_source(p) == ParameterSource.COMMANDLINE and p not in FIXED_BY_RESUME
    ]  # fmt: skip
    if changed:
        flags = ", ".join("--" + p.replace("__", ".").replace("_", "-") for p in changed)
        raise RecipeError(
            f"A resumed run keeps its recipe, so {flags} cannot be given.",
            f"Start a new run from it instead: vaebm run --recipe {run / 'recipe.toml'} {flags} …",
        )


def new_run(recipe: recipes.Recipe, registry: Registry, given: dict[str, Any]) -> tuple[Any, Any]:
    """The data and the directory of the run that the flags ask for."""
    from vaebm_toolkit.launch import begin

    return begin(
        recipe,
        registry,
        where(recipe, given),
        sys.argv,
        generator_from=given["generator_from"],
        energy_from=given["energy_from"],
        told=(lambda text: None) if given["quiet"] else (lambda text: click.echo(text, err=True)),
    )


def where(recipe: recipes.Recipe, given: dict[str, Any]) -> Path:
    """The new run's directory."""
    from vaebm_toolkit.training.rundir import next_path

    chosen: Path | None = given["out"]
    return chosen or next_path(Path("runs"), recipe.parts["dataset"].name)


def execute(make: Callable[[], tuple[Any, Any]] | None, registry: Registry, given: dict[str, Any]) -> None:
    """Run the pipeline; Ctrl-C and SIGTERM write a checkpoint before they end it.

    make: the data and the run; None in the processes of a job that follow its first.
    """
    from vaebm_toolkit.launch import everywhere
    from vaebm_toolkit.pipeline import Pipeline
    from vaebm_toolkit.training.processes import leave

    show = reporter(given["quiet"]) if leads() else Silent()
    stop = threading.Event()

    def ask_to_stop(*_: object) -> None:
        if launched():  # torch's launcher sends one signal for each that it gets, and one where a rank ends
            stop.set()
            return
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        show.note("Stopping after this step; once more to stop at once.")

    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, ask_to_stop)
    made: list[Path] = []

    def again() -> str:
        return going_on(made[0], None) if made else "Start it again."

    with telling_lost_ranks(again, stop), joined(given["device"]) as device:
        dataset, run = everywhere(make, registry)
        made.append(run.path)
        if leads():
            run.lock()
        pipeline = Pipeline(run, dataset, registry, show, device, stop)
        try:
            pipeline.stages()
            pipeline.draw()
            leave()
            if not leads():
                return
            results = pipeline.evaluation()
        except KeyboardInterrupt:
            raise ToolkitError(
                "Stopped at once.", f"Continue: vaebm run --resume {quoted(run.path)}"
            ) from None
        finally:
            show.end()
            run.close()
    if results is None:
        click.echo("No samples, no table: evaluate.samples is 0.")
    else:
        from vaebm_toolkit.cli.tables import print_results

        print_results(results, run.path)
    if run.recipe.log.report:
        click.echo(page(run.path, registry, device))
    click.echo(f"Next: vaebm sample {quoted(run.path)} --count 64 --out samples.png")


def page(run: Path, registry: Registry, device: Any) -> str:
    """Where the report is. A page that cannot be made costs no run: then why, and the command for it."""
    from vaebm_toolkit.report.page import write_report

    try:
        return str(write_report([run], run / "report.html", device, registry))
    except Exception as e:  # parts of strangers draw on it
        return f"There is no report: {e} Try again: vaebm report {quoted(run)}"
