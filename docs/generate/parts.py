"""The first-party parts and the tables of recipes, from the registry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markdown import code, docstring, escaped, fenced, page, table

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.cli.plugins import part_flag, prefix, text
from vaebm_toolkit.hookspecs import KINDS
from vaebm_toolkit.options import OptionField, derived_values, fields, slots
from vaebm_toolkit.registry import Registered, installed

KIND_WORDS = {
    "generator": ("Generators", "x = T(ε): what maps noise to data."),
    "energy": ("Energies", "E in p(x) ∝ exp(−E(x)): what corrects a generator, or stands alone."),
    "sampler": ("Samplers", "What draws: `--sampler` in training, `--sampling` at test time."),
    "buffer": ("Buffers", "What keeps the ends of chains for later starts. `--buffer none`: none."),
    "trainer": (
        "Trainers",
        "What fits them. `vae` trains the generator, in a stage of its own, so its options are "
        "`--pretrain.…`; those of the others are `--trainer.…`. Every stage also has "
        "[its length](recipes.md#every-stage).",
    ),
    "dataset": ("Data sets", "What to learn from. `vaebm data check` takes the same flags."),
    "metric": ("Metrics", "Figures of the final table: `--evaluate.metrics frechet,modes`."),
    "features": ("Feature spaces", "Where images are compared: `--evaluate.features pixels,classifier`."),
    "importer": ("Importers", "What reads checkpoints of other code: `vaebm import NAME CHECKPOINT`."),
}  # fmt: skip
INTRODUCTION = """\
Everything that can be named in a recipe or on the command line, by kind. `vaebm plugins list` shows what
is installed where you are, parts of other people's plugins included; `vaebm plugins show NAME` prints a
table like those below.

An option is a flag, `--generator.channels 32`, and a key of the recipe's table of that kind:"""
EXAMPLE = """\
[generator]
name = "nvae"
channels = 32"""
GLOSSARY = """\
A list is written `1,2,3` as a flag and `[1, 2, 3]` in TOML; no value is `none`; `--flag` alone is `--flag
true`."""
STAGE = """\
Each trainer's table, `[pretrain]` and `[trainer]`, has these beside the options of the trainer itself."""
TABLES = {
    "run": "The whole run; also `--seed`, `--precision`, `--threads`.",
    "evaluate": "The final table and the pictures.",
    "health": "Limits beyond which a stage stops and goes back to its last healthy checkpoint.",
    "log": "Also `--tensorboard`.",
}
KEYS = """\
A recipe has one table per part, `name` first, whose other keys are the options of [that part](parts.md),
and the tables below. How they come together: [recipes](../recipes.md)."""


def parts() -> str:
    registry = installed()
    kinds = [(kind, registry.of_kind(kind)) for kind in KINDS]
    rows = [
        [kind, f"[`{r.component.name}`](#{kind}-{r.component.name})", escaped(r.component.summary)]
        for kind, found in kinds
        for r in found
    ]
    blocks = [INTRODUCTION, fenced(EXAMPLE, "toml"), GLOSSARY, table(["kind", "name", "what"], rows)]
    for kind, found in kinds:
        title, words = KIND_WORDS.get(kind, (kind, ""))
        blocks += [f"## {title}", words, *(b for r in found for b in part(r))]
    return page("Parts and their options", *blocks)


def part(registered: Registered) -> Iterable[str]:
    c = registered.component
    yield f"### {c.kind} `{c.name}`"
    yield f"{c.summary[:1].upper()}{escaped(c.summary)[1:]}."
    package = registered.distribution
    origin = "built in" if package == "vaebm-toolkit" else f"[{package}](../../plugins/{package}/README.md)"
    yield f"From: {origin}." + (f" Source: {escaped(c.cite)}." if c.cite else "")
    if c.options is not None and c.options.__dict__.get("__doc__"):
        yield docstring(c.options.__doc__)
    works = [
        f"{s.kind} `{s.default}`"
        + (f" ({escaped(s.help)})" if s.help else "")
        + (f", only where `{s.when[0]}` is `{s.when[1]}`" if s.when else "")
        + (", or none" if s.optional else "")
        for s in slots(c.options).values()
    ]
    if works:
        yield f"Works with, unless others are chosen: {'; '.join(works)}."
    table_name = "pretrain" if c.name == "vae" and c.kind == "trainer" else prefix(c)
    found = list(fields(c.options).values())
    if found:
        yield option_table(table_name, found)
    if c.options is not None:
        for value, words in derived_values(c.options()).values():
            yield f"With the defaults, {escaped(words)} = {text(value)}."


def option_table(name: str, options: Sequence[OptionField]) -> str:
    rows = [
        [
            code(part_flag(name, f.key)),
            f.words,
            code(text(f.default)),
            f.unit,
            escaped(f.help) + (f" ({escaped(f.check.words)})" if f.check else ""),
        ]
        for f in options
    ]
    return table(["option", "type", "default", "unit", "meaning"], rows)


def shipped() -> str:
    """The table of docs/recipes.md."""
    found = recipes.shipped().items()
    rows = [[f"[`{n}`](reference/recipes.md#{n})", escaped(recipes.summary(t))] for n, t in found]
    return table(["recipe", "what"], rows)


def recipe_tables() -> str:
    """The tables that belong to no part, then each shipped recipe's text."""
    blocks = [
        KEYS,
        "## Every stage",
        STAGE,
        option_table("trainer", list(fields(recipes.StageOptions).values())),
    ]
    for name, cls in recipes.PLAIN.items():
        keys = list(fields(cls).values())
        table_of = keys_only(keys) if name in ("run", "log") else option_table(name, keys)
        blocks += [f"## `[{name}]`", TABLES.get(name, ""), table_of]
    blocks += ["## Shipped recipes", "`vaebm recipes show NAME` prints them; save one, change it, run it."]
    for name, source in recipes.shipped().items():
        blocks += [f"### {name}", fenced(source.rstrip("\n"), "toml")]
    return page("Recipes: tables and texts", *blocks)


def keys_only(options: Sequence[OptionField]) -> str:
    """Keys whose flags have no table before their name."""
    rows = [
        [
            code(f.key),
            f.words,
            code(text(f.default)),
            escaped(f.help) + (f" ({f.check.words})" if f.check else ""),
        ]
        for f in options
    ]
    return table(["key", "type", "default", "meaning"], rows)
