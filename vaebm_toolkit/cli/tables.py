"""Tables: rich on a terminal, tab-separated elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vaebm_toolkit.results import Results


def table(head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print rows under a head; cells may have click's colours, which only a terminal shows."""
    if not sys.stdout.isatty():
        for row in (head, *rows):
            click.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title or None, title_justify="left", header_style="bold")
    for i, name in enumerate(head):
        shown.add_column(name, overflow="fold", no_wrap=i == 0)
    for row in rows:
        shown.add_row(*map(Text.from_ansi, row))  # as they are: [a] is no markup
    Console().print(shown)


def print_results(results: Results, run: Path) -> None:
    """The final table with what its figures mean, and where the pictures are."""
    names = list(dict.fromkeys(k for figures in results.figures.values() for k in figures))
    rows = [
        [model, *(f"{figures[n]:.4g}" if n in figures else "" for n in names)]
        for model, figures in results.figures.items()
    ]
    table(["model", *names], rows)
    p = results.protocol
    sampler = p.get("sampler")
    chain = f"{sampler['name']}, {sampler['steps']} steps; " if sampler else ""
    click.echo(
        f"({p['samples']} samples, decoder {p['decoder']}, {chain}seed {p['seed']}, {p['device']}"
        + "".join(f"; {k} {p[k]}" for k in ("temperature", "head temperature", "stretched") if k in p)
        + "".join(
            f"; {k}: " + ", ".join(f"{a} {b}" for a, b in v.items())
            for k, v in p.items()
            if isinstance(v, dict) and k != "sampler"
        )
        + ")"
    )
    for picture in results.pictures:
        click.echo(f"{picture}")
