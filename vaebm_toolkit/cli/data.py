"""`vaebm data`: look at a data set before step 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import click

from vaebm_toolkit.cli.parts import PartsCommand, part_flag, tables_of
from vaebm_toolkit.errors import DataError
from vaebm_toolkit.options import fields
from vaebm_toolkit.recipe import part
from vaebm_toolkit.registry import installed


class DataCommand(PartsCommand):
    """A command with the flags of one data set."""

    tables = ("dataset",)
    plain = ()


@click.group("data", short_help="Preview and check a data set before step 0.")
def command() -> None:
    """Options of the data set are flags, as in `vaebm run`.

    \b
    vaebm data check   --dataset image-folder --dataset.path DIR
    vaebm data preview --dataset image-folder --dataset.path DIR --dataset.size 64
    """


@command.command("check", cls=DataCommand, short_help="Count, measure and warn; name every bad file.")
@part_flag("dataset", "Data set to read: digits (default), image-folder, npz, mnist, …")
@click.pass_context
def check(ctx: click.Context, /, **given: Any) -> None:
    """Read every example once: sizes, classes, copies, leaks, files that cannot be read."""
    from vaebm_toolkit.builtin.data import inspect
    from vaebm_toolkit.builtin.data.scan import BadFiles

    try:
        report = inspect.check(dataset(ctx, verify=True, verify_limit=None))
    except BadFiles as error:
        for name, fault in error.files:
            click.echo(f"{name}: {fault}")
        raise DataError(
            f"{len(error.files)} of {error.total} images in {error.where} cannot be read.",
            "Remove or replace the files listed above, then check again.",
        ) from error
    for line in report.lines():
        click.echo(line)


@command.command("preview", cls=DataCommand, short_help="Write a PNG of some examples.")
@part_flag("dataset", "Data set to read: digits (default), image-folder, npz, mnist, …")
@click.option(
    "--out", type=click.Path(path_type=Path), default="preview.png", show_default=True, help="File."
)
@click.option("--number", "-n", type=click.IntRange(1), default=64, show_default=True, help="Images shown.")
@click.pass_context
def preview(ctx: click.Context, /, out: Path, number: int, **given: Any) -> None:
    """A grid of training images as the networks will see them; points in the plane as a scatter plot."""
    from vaebm_toolkit.builtin.data import inspect

    click.echo(inspect.preview(dataset(ctx), out, number))


def dataset(ctx: click.Context, **forced: Any) -> Any:
    """The data set that the flags describe; `forced` options hold where it has them."""
    from vaebm_toolkit.building import construct

    table = dict(tables_of(ctx)["dataset"])
    chosen = part(installed().find("dataset", table.pop("name")), table, "dataset")
    known = fields(type(chosen.options)) if chosen.options is not None else {}
    over = {key: value for key, value in forced.items() if key in known}
    return construct(attrs.evolve(chosen, options=attrs.evolve(chosen.options, **over)) if over else chosen)
