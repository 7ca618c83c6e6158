"""Progress for people: bars on a terminal, plain lines elsewhere, nothing with --quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SHOWN = ("loss", "elbo", "energy_gap", "grad_norm")
PLAIN_SECONDS = 10.0


class Quiet:
    """Only warnings, to stderr."""

    def stage(self, name: str, start: int, steps: int) -> None: ...
    def step(self, step: int) -> None: ...
    def metrics(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def note(self, text: str) -> None: ...
    def end(self) -> None: ...

    def warn(self, text: str) -> None:
        click.echo(f"warning: {text}", err=True)


class Silent(Quiet):
    """Nothing: another process of the job tells."""

    def warn(self, text: str) -> None: ...


class Plain(Quiet):
    """One line every few seconds, for logs and pipes."""

    def __init__(self, every: float = PLAIN_SECONDS) -> None:
        self.every, self.last = every, 0.0

    def stage(self, name: str, start: int, steps: int) -> None:
        self.name, self.start, self.steps = name, start, steps
        self.begin = time.monotonic()
        after = f", from step {start}" if start else ""
        click.echo(f"{name}: {steps} steps{after}", err=True)

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self.last < self.every and step < self.steps:
            return
        self.last = now
        left = (now - self.begin) / max(step - self.start, 1) * (self.steps - step)
        click.echo(f"{self.name} {step}/{self.steps}  {words(metrics)}  {clock(left)} left", err=True)

    def note(self, text: str) -> None:
        click.echo(text, err=True)


class Live(Quiet):
    """A progress bar with the figures that matter and the time left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar: Progress | None = None

    def stage(self, name: str, start: int, steps: int) -> None:
        self.end()
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("[cyan]{task.fields[figures]}"),
            console=self.console,
        )
        self.task = self.bar.add_task(name, total=steps, completed=start, figures="")
        self.bar.start()

    def step(self, step: int) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=step)

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        if self.bar is not None:
            self.bar.update(self.task, figures=words(metrics))

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def warn(self, text: str) -> None:
        self.console.print(f"[yellow]warning:[/] {text}", highlight=False)

    def end(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def words(metrics: Mapping[str, float]) -> str:
    """ "loss 0.31  energy gap −0.12" from the figures people watch."""
    found = []
    for name in SHOWN:
        for key, value in metrics.items():
            if key == name or key.endswith(f"_{name}"):
                found.append(f"{name.replace('_', ' ')} {value:.4g}")
                break
    return "  ".join(found)


def clock(seconds: float) -> str:
    """
    >>> clock(75), clock(3700)
    ('1:15', '1:01:40')
    """
    m, s = divmod(round(seconds), 60)
    h, m = divmod(m, 60)
    return f"{h}:{m:02d}:{s:02d}" if h else f"{m}:{s:02d}"


def reporter(quiet: bool) -> Quiet:
    """The right one for this terminal; progress goes to stderr."""
    if quiet:
        return Quiet()
    console = Console(stderr=True)
    return Live(console) if console.is_terminal and sys.stderr.isatty() else Plain()
