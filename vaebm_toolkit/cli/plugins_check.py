"""`vaebm plugins check`: what this toolkit relies on, measured on a part."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from vaebm_toolkit.cli.named import matching
from vaebm_toolkit.cli.parts import PartOption
from vaebm_toolkit.cli.tables import table
from vaebm_toolkit.discovery import normal
from vaebm_toolkit.errors import RecipeError, ToolkitError, nearest
from vaebm_toolkit.hookspecs import KINDS
from vaebm_toolkit.options import fields, from_text, parse
from vaebm_toolkit.registry import Registered, Registry, installed

if TYPE_CHECKING:
    from vaebm_toolkit.testing import Verdict

EXTRA = "vaebm_toolkit.options"
COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}


class CheckCommand(click.Command):
    """A command with the options of the part that it is given as flags."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        registry = installed()
        words = [a for a in args if not a.startswith("-")]
        parts = next((found for word in words if (found := parts_called(word, registry))), [])
        ctx.meta[EXTRA] = [
            PartOption(r.component.kind, field, field.default)
            for r in parts
            for field in fields(r.component.options).values()
        ]
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get(EXTRA, ())]


def parts_called(name: str, registry: Registry) -> list[Registered]:
    """The parts of this name; none where there are none, as for the name of a plugin."""
    try:
        return matching(registry, name)
    except RecipeError:
        return []


@click.command("check", cls=CheckCommand, short_help="Measure what a part promises; exit code 1 if it fails.")
@click.argument("name")
@click.option("--kind", metavar="KIND", help="Only the part of this kind, where several share a name.")
@click.option("--shape", metavar="C,H,W|D", help="Shape of the data it is tried on, e.g. 3,32,32.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of what is drawn.")
@click.pass_context
def check(ctx: click.Context, /, name: str, kind: str | None, shape: str | None, seed: int, **_: Any) -> None:
    """Ask a part everything that this toolkit will rely on, and say what is wrong.

    NAME is a part, kind/name where two kinds share one, or a plugin: then all its parts are checked.
    Options of a part are flags, as in `vaebm run`: vaebm plugins check NAME --help

    \b
    vaebm plugins check latent-ld --sampler.step-size 0.1
    vaebm plugins check energy/mlp --shape 3,32,32
    vaebm plugins check vaebm-langevin
    vaebm plugins check walls --plugin ./walls.py
    """
    registry = installed()
    if kind is not None and kind not in KINDS:
        raise RecipeError(f'There is no kind of part called "{kind}".', nearest(kind, KINDS))
    parts, plugin = chosen(name, kind, registry)
    size = None if shape is None else shape_of(shape)
    given = [options_of(r, ctx) for r in parts]
    for problem in registry.problems:
        if problem.distribution in {plugin, *(r.distribution for r in parts)}:
            click.secho(f"warning: {problem}", fg="yellow", err=True)
    from vaebm_toolkit.testing import examine, logger

    checked: dict[str, list[Verdict]] = {}
    for r, options in zip(parts, given, strict=True):
        checked[called(r)] = examine(r, shape=size, options=options, seed=seed)
        show(str(r), checked[called(r)])
    if plugin and kind is None and logger.logs(plugin):
        checked[logger.HOOK] = logger.verdicts(plugin)
        show(f"{logger.HOOK} ({plugin})", checked[logger.HOOK])
    if not checked:
        click.echo(f"{plugin} has no parts and no hook {logger.HOOK}: there is nothing to check.", err=True)
    elif not sys.stdout.isatty():
        rows = [(part, *cells) for part, verdicts in checked.items() for cells in cells_of(verdicts)]
        table(["part", "claim", "verdict", "found"], rows)
    if any(v.status == "failed" for verdicts in checked.values() for v in verdicts):
        sys.exit(1)


def called(r: Registered) -> str:
    """energy/walls"""
    return f"{r.component.kind}/{r.component.name}"


def chosen(name: str, kind: str | None, registry: Registry) -> tuple[list[Registered], str]:
    """The parts to check; and the plugin, if `name` is that of one and of no part."""
    plugin, parts = "", parts_called(name, registry)
    if not parts:
        plugin = next((s for s in registry.sources if normal(s) == normal(name)), "")
        parts = list({id(r): r for r in registry.shadowed.values() if r.distribution == plugin}.values())
    if not parts and not plugin:
        refuse_broken(name, registry)
        matching(registry, name)  # raises, with the nearest name
    found = [r for r in parts if kind in (None, r.component.kind)]
    if not found and kind is not None:
        kinds = ", ".join(sorted({r.component.kind for r in parts}))
        raise RecipeError(f'"{name}" has no part of kind {kind}.', f"It has: {kinds}" if kinds else "")
    return found, plugin


def refuse_broken(name: str, registry: Registry) -> None:
    """ToolkitError if `name` is a plugin that could not be loaded."""
    for problem in registry.problems:
        if normal(problem.distribution) == normal(name):
            raise ToolkitError(f"plugin {problem.distribution}: {problem.message}", problem.fix)


def options_of(registered: Registered, ctx: click.Context) -> dict[str, Any]:
    """The part's options that were given as flags."""
    c = registered.component
    given = {
        o.field.key: from_text(value, o.field.type, f"{c.kind}.{o.field.key}")
        for o in ctx.meta[EXTRA]
        if o.table == c.kind and (value := ctx.params.get(o.name or "")) is not None
    }
    parse(c.options, given, c.kind)
    return given


def shape_of(text: str) -> tuple[int, ...]:
    """
    >>> shape_of("3,32,32")
    (3, 32, 32)
    """
    shape: tuple[int, ...] = from_text(text, tuple[int, ...], "--shape")
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise RecipeError(
            f"--shape {text}: it is (C, H, W) of images or (D,) of vectors.", "For example: --shape 3,32,32"
        )
    return shape


def show(part: str, verdicts: list[Verdict]) -> None:
    """A table on a terminal; what came of it."""
    if sys.stdout.isatty():
        table(["claim", "verdict", "found"], list(cells_of(verdicts)), title=part)
    counts = {s: sum(v.status == s for v in verdicts) for s in COLOURS}
    said = ", ".join(f"{n} {status}" for status, n in counts.items() if n) or "nothing to check"
    click.echo(f"{part}: {said} in {sum(v.seconds for v in verdicts):.1f} s", err=True)


def cells_of(verdicts: Iterable[Verdict]) -> Iterable[tuple[str, str, str]]:
    """Claim, verdict and what was found; on one line where it goes into a pipe."""
    for v in verdicts:
        detail = v.detail
        if not sys.stdout.isatty():
            detail = "; ".join(" ".join(line.split()) for line in detail.splitlines())
        yield v.claim, click.style(v.status, fg=COLOURS[v.status]), detail
