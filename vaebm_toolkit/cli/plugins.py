"""`vaebm plugins`: what is installed, and each part's options."""

from __future__ import annotations

from typing import Any

import click

from vaebm_toolkit.cli.named import matching
from vaebm_toolkit.cli.plugins_check import check
from vaebm_toolkit.cli.plugins_new import new
from vaebm_toolkit.cli.tables import table
from vaebm_toolkit.discovery import DISABLED
from vaebm_toolkit.errors import RecipeError, nearest
from vaebm_toolkit.hookspecs import KINDS, Component
from vaebm_toolkit.options import derived_values, fields, slots
from vaebm_toolkit.recipe import StageOptions
from vaebm_toolkit.registry import Registered, Registry, installed


@click.group("plugins", short_help="List, show, check and write parts.")
def command() -> None:
    """Parts come from plugins; every installed one can be named in a recipe or a flag."""


command.add_command(new)
command.add_command(check)


@command.command("list")
@click.argument("kind", required=False)
@click.option(
    "--verbose", "-v", is_flag=True, help="Also sources, and each plugin's version, licence and place."
)
def list_parts(kind: str | None, verbose: bool) -> None:
    """All parts (of one KIND), then the plugins that cannot be used and why."""
    if kind is not None and kind not in KINDS:
        raise RecipeError(f'There is no kind of part called "{kind}".', nearest(kind, KINDS))
    registry = installed()
    parts = [r for k in ([kind] if kind else KINDS) for r in listed(registry, k)]
    rows = [
        [c.kind, name, r.distribution, c.summary, *([c.cite] if verbose else [])]
        for name, r in parts
        for c in (r.component,)
    ]
    table(["kind", "name", "from", "what", *(["source"] if verbose else [])], rows)
    if verbose:
        click.echo()
        used = {r.distribution for _, r in parts}
        rows = [
            [s.name, s.version or "-", str(s.api), s.licence or "-", f"{s.seconds:.2f} s", s.location]
            for s in registry.sources.values()
            if s.name in used or kind is None
        ]
        table(["plugin", "version", "contract", "licence", "import", "location"], rows)
    if registry.disabled:
        click.secho(f"disabled by {DISABLED}: {', '.join(registry.disabled)}", fg="yellow", err=True)
    for problem in registry.problems:
        click.secho(f"{problem}", fg="yellow", err=True)


def listed(registry: Registry, kind: str) -> list[tuple[str, Registered]]:
    """(what users type, part), those whose name is taken by another among them."""
    own = [(r.component.name, r) for r in registry.of_kind(kind)]
    held = {id(r) for _, r in own}
    return own + [(full, r) for (k, full), r in registry.shadowed.items() if k == kind and id(r) not in held]


@command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """One part, e.g. latent-ld: its options, defaults, units, what follows from them, its source.

    NAME may also be kind/name, where two kinds share a name.
    """
    for i, registered in enumerate(matching(installed(), name)):
        if i:
            click.echo()
        show_one(registered)


def show_one(registered: Registered) -> None:
    c = registered.component
    click.secho(f"{c.kind} {c.name}", bold=True, nl=False)
    click.echo(f"  ({registered.distribution} {registered.version})".rstrip())
    for line in (c.summary, f"Source: {c.cite}" if c.cite else ""):
        if line:
            click.echo(line)
    if c.kind == "importer":
        click.echo(f"Use it: vaebm import {c.name} CHECKPOINT --out RUN")
    for field, s in slots(c.options).items():
        click.echo(f"Works with: {s.kind} as {field}: {s.default} unless another is chosen.")
    rows = [
        [part_flag(prefix(c), key), f.words, text(f.default), f.unit,
         f.help + (f" ({f.check.words})" if f.check else "")]
        for cls in (c.options, StageOptions if c.kind == "trainer" else None)
        for key, f in fields(cls).items()
    ]  # fmt: skip
    if rows:
        table(["option", "type", "default", "unit", "meaning"], rows)
    if c.options is not None:
        for value, words in derived_values(c.options()).values():
            click.echo(f"With the defaults, {words} = {text(value)}")


def part_flag(prefix: str, key: str) -> str:
    """--sampler.step-size, --kernel.subsets; an importer's options are those of its own command."""
    return f"--{prefix}.{key}".replace("--.", "--").replace("_", "-")


def prefix(c: Component) -> str:
    """What stands before a component's options: its kind, or its name where several may be chosen."""
    return {"importer": "", "metric": c.name, "features": c.name}.get(c.kind, c.kind)


def text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
