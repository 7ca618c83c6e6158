"""`vaebm cite RUN`: BibTeX for exactly the parts that a run used."""

from __future__ import annotations

from pathlib import Path

import click

from vaebm_toolkit.registry import installed


@click.command("cite", short_help="BibTeX for exactly the parts that a run used.")
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> None:
    """Print BibTeX entries for the toolkit and for every part that RUN used, each once.

    \b
    vaebm cite runs/0001-digits > references.bib
    """
    from vaebm_toolkit.citation import bibliography
    from vaebm_toolkit.training.rundir import RunDirectory

    click.echo(bibliography(RunDirectory.open(run, installed()).recipe.components))
