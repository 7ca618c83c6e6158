"""Tables: rich on a terminal, tab-separated elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vaebm_toolkit.evaluation.records import Record
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
    from vaebm_toolkit.report.tables import words

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
            f"; {k}: " + words({a: b for a, b in v.items() if a != "found"})
            for k, v in p.items()
            if isinstance(v, dict) and k != "sampler"
        )
        + ")"
    )
    for picture in results.pictures:
        click.echo(f"{picture}")


def print_records(found: Sequence[Record]) -> None:
    """One table of all figures with their intervals, and the protocol of each metric below it."""
    from vaebm_toolkit.evaluation.records import common, differences, label
    from vaebm_toolkit.report.tables import words

    names = list(dict.fromkeys(label(name, r) for r in found for name in r.figures))
    cells: dict[str, dict[str, str]] = {}
    for r in found:
        for name, value in r.figures.items():
            low, high = r.intervals.get(name) or (None, None)
            within = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
            cells.setdefault(r.model, {})[label(name, r)] = f"{value:.4g}{within}"
    if len(names) <= len(cells) + 3:
        table(["model", *names], [[m, *(row.get(n, "") for n in names)] for m, row in cells.items()])
    else:  # many figures: one in each line
        table(["figure", *cells], [[n, *(row.get(n, "") for row in cells.values())] for n in names])
    groups: dict[tuple[str, str], list[Record]] = {}
    for r in found:
        groups.setdefault((r.metric, r.features), []).append(r)
    shared = {k: v for k, v in common([r.protocol for r in found]).items() if k != "found"}
    click.echo("all: " + words(shared))
    of_model = {}
    for model in cells:
        told = common([r.protocol for r in found if r.model == model])
        of_model[model] = {k: v for k, v in told.items() if k not in (*shared, "found")}
        if len(cells) > 1 and of_model[model]:
            click.echo(f"{model}: {words(of_model[model])}")
    for (metric, features), rs in groups.items():
        title = metric + (f", {features}" if features else "")
        hidden = {*shared, "found"}.union(*[of_model[m] for m in {r.model for r in rs}])
        same = {k: v for k, v in common([r.protocol for r in rs]).items() if k not in hidden}
        if same:
            click.echo(f"{title}: {words(same)}")
        for picture in (p for r in rs for p in r.pictures.values()):
            click.echo(f"{title}: picture {picture}")
        for r in rs:
            own = {k: v for k, v in r.protocol.items() if k not in same and k not in hidden}
            if own:
                click.echo(f"  {title}, {r.model}: {words(own)}")
        for r in rs:
            for figure, why in r.reading.items():
                click.echo(f"  {r.model}, {figure}: {why}")
        if different := differences(rs):
            click.secho(
                f"warning: {title} was measured in different ways ({', '.join(different)}): its figures "
                "do not compare.", fg="yellow", err=True,
            )  # fmt: skip
