"""The commands, from the click tree. Neither the width of the terminal nor strangers' plugins matter."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
from markdown import code, escaped, fenced, page, table

from vaebm_toolkit.cli import cli
from vaebm_toolkit.cli.importing import ImporterOption
from vaebm_toolkit.cli.parts import PartsCommand
from vaebm_toolkit.cli.plugins import text

INTRODUCTION = """\
`vaebm COMMAND --help` says the same. `--plugin FILE.py` may stand with any command: it adds the parts in
that file."""
EVERY_PART = """\
Besides these, **every option of every chosen part is a flag**, `--sampler.step-size 1e-4`: see the
[parts](parts.md), and the [tables of a recipe](recipes.md) for those that belong to no part,
`--evaluate.samples 100`."""
SOME = {
    "dataset": "of the [data set](parts.md#data-sets), `--dataset.size 32`",
    "evaluate": "of the [evaluation](recipes.md#evaluate), `--evaluate.samples 100`",
}


def commands() -> str:
    tree = list(walk(cli, click.Context(cli, info_name="vaebm")))
    rows = [[f"[`{c.command_path}`](#{anchor(c)})", escaped(short(c))] for c in tree[1:]]
    return page("Commands", INTRODUCTION, table(["command", "does"], rows), *map(section, tree[1:]))


def walk(command: click.Command, ctx: click.Context) -> Iterator[click.Context]:
    """The context of a command and of all below it, in the order of their help."""
    yield ctx
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            if found is not None and not found.hidden:
                yield from walk(found, click.Context(found, info_name=name, parent=ctx))


def section(ctx: click.Context) -> str:
    command = ctx.command
    arguments = [a for a in command.params if isinstance(a, click.Argument)]
    options = [o for o in command.params if isinstance(o, click.Option) and not o.hidden]
    words = [ctx.command_path, *(["[OPTIONS]"] if options else [])]
    words += [a.human_readable_name.upper() if a.required else f"[{a.human_readable_name.upper()}]"
              for a in arguments]  # fmt: skip
    if isinstance(command, click.Group):
        words.append("COMMAND")
    level = "##" if ctx.command_path.count(" ") == 1 else "###"
    return "\n\n".join(
        [
            f"{level} {ctx.command_path}",
            fenced(" ".join(words)),
            prose(command.help or ""),
            *([option_table(options)] if options else []),
            *([more_flags(command)] if isinstance(command, PartsCommand) else []),
        ]
    )


def more_flags(command: PartsCommand) -> str:
    """Which options of parts are flags of the command."""
    if command.tables == PartsCommand.tables:
        return EVERY_PART
    of = ", and ".join(SOME[t] for t in (*command.tables, *command.plain))
    return f"Besides these, options {of}, are flags."


def anchor(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def short(ctx: click.Context) -> str:
    """The line beside a command in the list above it."""
    return (ctx.command.short_help or inspect.cleandoc(ctx.command.help or "").partition("\n")[0]).rstrip(".")


def prose(words: str) -> str:
    """A help text: click marks with \\b what must keep its lines."""
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(words))
    return "\n\n".join(
        fenced(inspect.cleandoc(b.lstrip(" \b\n"))) if "\b" in b else escaped(inspect.cleandoc(b))
        for b in blocks
    )


def option_table(options: list[click.Option]) -> str:
    rows = [[", ".join(map(code, sorted(o.opts, key=len, reverse=True))), *described(o)] for o in options]
    return table(["option", "value", "default", "meaning"], rows)


def described(option: click.Option) -> tuple[str, str, str]:
    """Value, default and meaning; an importer's options know more than click does."""
    if isinstance(option, ImporterOption):
        f = option.field
        must = f" ({f.check.words})" if f.check else ""
        return f.words, code(text(f.default)), escaped(f"{f.help}{must}")
    return code(value(option)), code(default(option)), escaped(option.help or "")


def value(option: click.Option) -> str:
    """What is written after the flag, and its bounds."""
    t = option.type
    if option.is_flag:
        return ""
    if option.metavar:
        return option.metavar
    if isinstance(t, click.Choice):
        return " | ".join(map(str, t.choices))
    if isinstance(t, click.Path):
        return "PATH"
    if isinstance(t, (click.IntRange, click.FloatRange)):
        more = "" if t.min is None else f" {'>' if t.min_open else '≥'} {t.min}"
        less = "" if t.max is None else f" {'<' if t.max_open else '≤'} {t.max}"
        return f"NUMBER{more}{less}"
    return "NUMBER" if t in (click.INT, click.FLOAT) else "TEXT"


def default(option: click.Option) -> str:
    """What holds where the flag is not given, if that is a value."""
    known = option.show_default and isinstance(option.default, (str, int, float, Path))
    return str(option.default) if known else ""
