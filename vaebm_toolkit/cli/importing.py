"""`vaebm import`: checkpoints of other people's code become runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vaebm_toolkit.cli import warn_of_problems
from vaebm_toolkit.cli.plugins import text
from vaebm_toolkit.errors import RecipeError, quoted
from vaebm_toolkit.options import OptionField, fields, from_text, parse
from vaebm_toolkit.registry import Registered, installed

ABOUT = """\
    Reads weights-only: nothing in the file is run, and a file that holds more than tensors, plain
    values and an argparse.Namespace is refused. Every tensor must be there with its shape."""


class Importers(click.Group):
    """One subcommand per installed importer."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return installed().names("importer")

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        registry = installed()
        try:
            return command_for(registry.find("importer", name))
        except RecipeError as e:
            if not Path(name).exists():
                raise
            known = ", ".join(registry.names("importer"))
            raise RecipeError(
                f"Say which code wrote {name}.", f"One of {known}: vaebm import nvae {quoted(name)}"
            ) from e


@click.group("import", cls=Importers, short_help="Make a run of a checkpoint of other code.")
def command() -> None:
    """Make a run of a checkpoint of NVAE's, VAEBM's or IGEBM's released code.

    \b
    vaebm import nvae checkpoint.pt --out runs/nvae
    vaebm import energy EBM_30000.pth --out runs/vaebm --generator-from runs/nvae
    vaebm sample runs/vaebm

    Reads weights-only: nothing in the file is run, and a file that holds more than tensors, plain
    values and an argparse.Namespace is refused. Every tensor must be there with its shape.
    """


class ImporterOption(click.Option):
    """A flag for one option of an importer; its value stays text until the options are made."""

    def __init__(self, field: OptionField) -> None:
        unit = f" [{field.unit}]" if field.unit else ""
        must = f"; {field.check.words}" if field.check else ""
        super().__init__(
            [f"--{field.key.replace('_', '-')}", f"option__{field.key}"],
            help=f"{field.help}{unit} ({field.words}{must}; default {text(field.default)})",
            metavar="VALUE",
            type=str,
            **({"is_flag": False, "flag_value": "true"} if field.type is bool else {}),
        )
        self.field = field


def command_for(registered: Registered) -> click.Command:
    """`vaebm import NAME`, with the importer's own options."""
    c = registered.component
    own = [ImporterOption(field) for field in fields(c.options).values()]

    def callback(**given: Any) -> None:
        run(registered, own, **given)

    return click.Command(
        c.name,
        callback=callback,
        short_help=c.summary,
        help=f"Make a run of CHECKPOINT: {c.summary}.\n\n{ABOUT}",
        epilog=f"Source: {c.cite}" if c.cite else None,
        params=[
            click.Argument(["checkpoint"], type=click.Path(path_type=Path)),
            click.Option(
                ["--out"], type=click.Path(path_type=Path), help="Run directory; by default runs/NNNN-NAME."
            ),
            click.Option(
                ["--generator-from"],
                type=click.Path(path_type=Path),
                metavar="RUN",
                help="For an energy: the run whose generator it corrects; the result has both.",
            ),
            *own,
            click.Option(["--device"], default="auto", show_default=True, help="cpu, cuda, …"),
            click.Option(["--quiet", "-q"], is_flag=True, help="Only the result and warnings."),
        ],
    )


def run(
    registered: Registered, own: list[ImporterOption], checkpoint: Path, out: Path | None,
    generator_from: Path | None, device: str, quiet: bool, **given: str | None,
) -> None:  # fmt: skip
    c = registered.component
    table = {
        o.field.key: from_text(value, o.field.type, f"--{o.field.key.replace('_', '-')}")
        for o in own
        if (value := given[o.name or ""]) is not None
    }
    options = parse(c.options, table, "import")
    if not quiet:
        warn_of_problems()
    from vaebm_toolkit.training.device import choose_device
    from vaebm_toolkit.training.importing import plan_import, size, write_import
    from vaebm_toolkit.training.rundir import RunDirectory, next_path

    registry, where = installed(), choose_device(device)
    out = out or next_path(Path("runs"), c.name)
    RunDirectory.refuse_taken(out)
    beside = None
    if generator_from is not None:
        beside = RunDirectory.open(generator_from, registry)
        beside.finished_generator()
    plan = plan_import(registry, registered, options, checkpoint, beside)
    made = write_import(plan, out, sys.argv, where)
    if not quiet:
        for note in (*plan.imported.notes, plan.imported.alone if beside is None else ""):
            if note:
                click.echo(f"note: {note}", err=True)
    for name, tensors in plan.imported.networks.items():
        step = f", training step {plan.imported.step}" if plan.imported.step else ""
        click.echo(
            f"{name} {plan.recipe.names[name]}: {len(tensors)} tensors, {size(tensors):,} values{step}"
        )
    click.echo(f"{made.path}: {', '.join(f'{t} {p.name}' for t, p in plan.recipe.parts.items())}")
    click.echo(f"Next: vaebm sample {quoted(made.path)} --count 64 --out samples.png")
