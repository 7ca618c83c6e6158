"""`vaebm report RUN …`: one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from vaebm_toolkit.cli import plugin_option, warn_of_problems


@click.command("report", short_help="One HTML page of a run, or of several beside each other.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="The page; by default RUN/report.html, of several runs ./report.html.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, …: where pictures are drawn.")
@plugin_option
def command(runs: tuple[Path, ...], out: Path | None, device: str) -> None:
    """Write one HTML page: samples, chains, curves, metrics with their protocols, recipe and commands.

    \b
    vaebm report runs/0001-digits                    its page, report.html inside
    vaebm report runs/0001-digits runs/0002-digits   one page that compares them

    The page is one file and loads nothing from elsewhere. What a run has not come to is named there, with
    the command that makes it.
    """
    warn_of_problems()
    from vaebm_toolkit.report.page import write_report
    from vaebm_toolkit.training.device import choose_device

    if out is None:
        out = runs[0] / "report.html" if len(set(runs)) == 1 else Path("report.html")
    click.echo(write_report(runs, out, choose_device(device)))
