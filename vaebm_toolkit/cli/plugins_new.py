"""`vaebm plugins new`: a package, or one file, with a part that works."""

from __future__ import annotations

from pathlib import Path

import click

from vaebm_toolkit.errors import RecipeError, nearest, quoted
from vaebm_toolkit.registry import installed
from vaebm_toolkit.scaffold.names import (
    Called,
    called,
    check_file_name,
    check_name,
    check_package_name,
    distribution_of,
)
from vaebm_toolkit.scaffold.rendering import (
    KINDS,
    LICENCES,
    LOGGER,
    Wanted,
    flags,
    in_one_file,
    package,
)
from vaebm_toolkit.scaffold.writing import write, write_all


@click.command("new", short_help="Write a plugin with a part that works, to be changed.")
@click.argument("kind", metavar="KIND")
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write; by default vaebm-NAME, or NAME.py."
)
@click.option("--single-file", is_flag=True, help="One file NAME.py for --plugin, instead of a package.")
@click.option(
    "--licence", "--license", "licence", type=click.Choice(LICENCES), default="MIT", show_default=True,
    help="Licence of the package.",
)  # fmt: skip
@click.option("--author", default="", metavar='"NAME <MAIL>"', help="Whose it is; by default nobody's name.")
def new(kind: str, name: str, out: Path | None, single_file: bool, licence: str, author: str) -> None:
    """Write a package vaebm-NAME with a part NAME, its options, a test, a README.

    \b
    KIND is one of generator, energy, sampler, buffer, trainer, dataset, metric, features, logger.
    vaebm plugins new energy walls
    vaebm plugins new sampler walk --licence Apache-2.0 --author "Ada Example <ada@example.org>"
    vaebm plugins new energy idea --single-file
    """
    if kind not in KINDS:
        raise RecipeError(f'There is no template for the kind "{kind}".', nearest(kind, KINDS))
    check_name(name)
    if not author.isprintable():
        raise RecipeError("--author: it has characters that cannot be printed.", "Give a name on one line.")
    if single_file:
        write_file(kind, name, out or Path(f"{name}.py"))
    else:
        write_package(kind, name, out, licence, author)


def write_package(kind: str, name: str, out: Path | None, licence: str, author: str) -> None:
    check_package_name(name)
    distribution = distribution_of(name)
    folder = out or Path(distribution)
    names = named(kind, name, distribution)
    wanted = Wanted(kind, name, names, licence, author)
    texts = package(wanted)
    write_all(folder, texts)
    click.echo(f"{folder}:")
    for path in texts:
        click.echo(f"  {path}")
    follow(
        f"pip install -e {quoted(folder)}",
        f"vaebm plugins check {names.checked}",
        f"vaebm run {flags(wanted)}",
        f"pytest {quoted(folder)}",
    )


def write_file(kind: str, name: str, file: Path) -> None:
    if file.suffix != ".py":
        raise RecipeError(f"--out {file}: a single file ends in .py.", f"For example: --out {name}.py")
    check_file_name(file.stem)
    names = named(kind, name, file.name)
    wanted = Wanted(kind, name, names)
    plugin = f"--plugin {quoted(file if file.is_absolute() else f'./{file}')}"
    write(file.parent, {file.name: in_one_file(wanted, file.name)})
    click.echo(f"{file}")
    follow(f"vaebm plugins check {plugin} {names.checked}", f"vaebm run {plugin} {flags(wanted)}")


def named(kind: str, name: str, source: str) -> Called:
    """How the part will be called, said where that is not its name."""
    if kind == LOGGER:
        return Called(source, source)
    names = called(installed(), kind, name, source)
    if names.warning:
        click.secho(f"warning: {names.warning}", fg="yellow", err=True)
    return names


def follow(*commands: str) -> None:
    click.echo("Next:")
    for command in commands:
        click.echo(f"  {command}")
