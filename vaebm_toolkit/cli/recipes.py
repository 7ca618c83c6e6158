"""`vaebm recipes`: list and show what ships."""

from __future__ import annotations

import click

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.cli.tables import table
from vaebm_toolkit.errors import RecipeError, nearest


@click.group("recipes", short_help="List and show the recipes that ship with the toolkit.")
def command() -> None:
    """The recipes that ship with the toolkit: run one with `vaebm run --recipe NAME`."""


@command.command("list")
def list_recipes() -> None:
    """All recipes, one line each."""
    table(["recipe", "what"], [[name, recipes.summary(text)] for name, text in recipes.shipped().items()])
    click.echo("Next: vaebm recipes show NAME, vaebm run --recipe vaebm-cifar10 --dry-run")


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """The recipe's text; save it, change it, run it: vaebm run --recipe FILE."""
    known = recipes.shipped()
    if name not in known:
        raise RecipeError(
            f'There is no recipe called "{name}".',
            f"{nearest(name, list(known))} List them: vaebm recipes list",
        )
    click.echo(known[name], nl=False)
