"""Flags made from options: `--sampler NAME`, `--sampler.step-size 1e-4`, for whatever parts are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from vaebm_toolkit.errors import RecipeError, nearest
from vaebm_toolkit.hookspecs import Component
from vaebm_toolkit.options import OptionField, fields, from_text
from vaebm_toolkit.recipe import (
    ABSENT,
    DEFAULT_DATASET,
    PLAIN,
    SECOND_STAGE,
    SLOTS,
    StageOptions,
    Table,
    base_recipe,
    merge,
    read,
    slot_names,
)
from vaebm_toolkit.registry import Registry, installed

KEY = "vaebm_toolkit.tables"
RECIPE = "recipe.toml"


def flag(table: str, key: str) -> str:
    """--sampler.step-size"""
    return f"--{table}.{key}".replace("_", "-")


class PartOption(click.Option):
    """A flag for one option of one table; its value stays text until the recipe is resolved.

    under: the table that this one stands in: [evaluate] for those of metrics and feature spaces.
    """

    def __init__(self, table: str, field: OptionField, default: Any, under: str = "") -> None:
        shown = "none" if default is None else str(default).lower() if isinstance(default, bool) else default
        unit = f" [{field.unit}]" if field.unit else ""
        must = f"; {field.check.words}" if field.check else ""
        super().__init__(
            [flag(table, field.key), f"{table}__{field.key}".replace("-", "_")],
            help=f"{field.help}{unit} ({field.words}{must}; default {shown})",
            metavar="VALUE",
            type=str,
            **({"is_flag": False, "flag_value": "true"} if field.type is bool else {}),
        )
        self.table, self.field, self.under = table, field, under


class PartsCommand(click.Command):
    """A command whose flags depend on the parts it is given.

    `tables` are the recipe's tables that it accepts flags for.
    """

    tables: tuple[str, ...] = tuple(SLOTS)
    plain: tuple[str, ...] = ("evaluate", "health", "log")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        registry = installed()
        chosen, base = self.first_look(args, registry)
        ctx.meta[KEY] = base
        if not ({"-h", "--help"} & set(args)) or chosen:
            ctx.meta["extra"] = list(self.part_options(merge(base, chosen), registry, chosen, args))
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as e:
            raise explained(e, registry, slot_names(merge(base, chosen), registry)) from e

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get("extra", ())]

    def first_look(self, args: list[str], registry: Registry) -> tuple[dict[str, Table], dict[str, Table]]:
        """The parts named on the command line, and the recipe's tables below them."""
        given = dict(pairs(args))
        chosen = {t: {"name": given[f"--{t}"]} for t in self.tables if f"--{t}" in given}
        over: dict[str, Table] = {}
        for source in (value for name, value in pairs(args) if name == "--recipe"):
            over = merge(over, read(source))
        if "dataset" in over:  # a whole recipe; without a data set it lies over the data set's own
            return chosen, over
        if (runs := trained_runs(given)) and ("--dataset" not in given or "--energy-from" in given):
            base = as_in(runs, registry, chosen)
        else:
            dataset = given.get("--dataset")
            base = read(base_recipe(registry, dataset or DEFAULT_DATASET))
        return chosen, merge(base, over)

    def part_options(
        self, tables: Mapping[str, Table], registry: Registry, chosen: Mapping[str, Any], args: list[str]
    ) -> Iterable[PartOption]:
        """Flags for all parts; with --help, only for those named on the command line."""
        helping = bool({"-h", "--help"} & set(args))
        names = slot_names(tables, registry)
        names = {t: n for t, n in names.items() if t in self.tables}
        for table, cls in PLAIN.items():
            if table in self.plain and not helping:
                for f in fields(cls).values():
                    yield PartOption(table, f, f.default)
        for component in measuring(args, registry) if "evaluate" in self.plain else ():
            for f in fields(component.options).values():
                yield PartOption(component.name, f, f.default, under="evaluate")
        for table, name in names.items():
            if name == ABSENT or (helping and table not in chosen):
                continue
            component = registry.find(SLOTS[table], name).component
            stage = fields(StageOptions) if component.kind == "trainer" else {}
            for f in (*fields(component.options).values(), *stage.values()):
                yield PartOption(table, f, tables.get(table, {}).get(f.key, f.default))


def measuring(args: list[str], registry: Registry) -> list[Component]:
    """The metrics and feature spaces that are named, or that have an option among the arguments."""
    words = {value for name, value in pairs(args) if name in ("--metric", "--features", "-m", "-f")}
    words |= {a[2:].partition(".")[0] for a in args if a.startswith("--") and "." in a}
    known = (r.component for (kind, name), r in registry.parts.items() if kind in ("metric", "features"))
    return [c for c in known if c.name in words and c.name not in SLOTS]


def trained_runs(given: Mapping[str, str]) -> list[dict[str, Table]]:
    """The recipes of the runs that a generator and an energy are taken from, in this order."""
    recipes = (Path(given[f], RECIPE) for f in ("--generator-from", "--energy-from") if f in given)
    return [read(recipe) for recipe in recipes if recipe.is_file()]


def as_in(runs: list[dict[str, Table]], registry: Registry, chosen: Mapping[str, Table]) -> dict[str, Table]:
    """Everything as in the run that the trained network comes from.

    A run that trained a generator alone has no second stage: where one is not refused in so many
    words, it is that of the energy's run if that corrects a generator, else the data set's own.
    """
    base = runs[0]
    if base.get("trainer", {}).get("name") != ABSENT or chosen.get("trainer", {}).get("name") == ABSENT:
        return base
    dataset = {**base.get("dataset", {}), **chosen.get("dataset", {})}.get("name", DEFAULT_DATASET)
    paired = [run for run in runs[1:] if "generator" in run]
    stage = paired[0] if paired else read(base_recipe(registry, dataset))
    first = {table: values for table, values in base.items() if table not in SECOND_STAGE}
    return {**first, **{table: values for table, values in stage.items() if table in SECOND_STAGE}}


def explained(e: click.NoSuchOption, registry: Registry, names: Mapping[str, str]) -> Exception:
    """The error for an unknown `--table.key` says whose option it would have been."""
    table, dot, key = e.option_name.lstrip("-").partition(".")
    measured = measuring([e.option_name], registry)
    if dot and measured:
        component = measured[0]
    elif not dot or names.get(table, ABSENT) == ABSENT:
        return e
    else:
        component = registry.find(SLOTS[table], names[table]).component
    known = [*fields(component.options), *(fields(StageOptions) if component.kind == "trainer" else ())]
    hint = nearest(key.replace("-", "_"), known)
    for name in known:
        hint = hint.replace(f'"{name}"', flag(table, name))
    return RecipeError(
        f'{e.option_name}: the {component.kind} "{component.name}" has no such option.',
        f"{hint} See them: vaebm plugins show {component.kind}/{component.name}",
    )


def pairs(args: list[str]) -> Iterable[tuple[str, str]]:
    """(flag, value) pairs of `--flag value` and `--flag=value`."""
    for i, a in enumerate(args):
        if a.startswith("--") and "=" in a:
            name, _, value = a.partition("=")
            yield name, value
        elif a.startswith("-") and i + 1 < len(args):
            yield a, args[i + 1]


def tables_of(ctx: click.Context) -> dict[str, Table]:
    """The recipe's tables with the flags of this call on top."""
    return merge(ctx.meta[KEY], flags_of(ctx))


def flags_of(ctx: click.Context) -> dict[str, Table]:
    """The flags of this call as a recipe's tables."""
    over: dict[str, Table] = {}
    for option in ctx.command.get_params(ctx):
        value = ctx.params.get(option.name or "")
        if isinstance(option, PartOption) and value is not None:
            path = f"{option.table}.{option.field.key}"
            place = over.setdefault(option.under, {}) if option.under else over
            place.setdefault(option.table, {})[option.field.key] = from_text(value, option.field.type, path)
    for table in SLOTS:
        if ctx.params.get(table) is not None:
            over.setdefault(table, {})["name"] = ctx.params[table]
    return over


def part_flag(table: str, help: str) -> Any:
    """The decorator for `--generator NAME`."""
    return click.option(f"--{table}", metavar="NAME", help=help)


__all__ = ["PartsCommand", "flags_of", "part_flag", "tables_of"]
