"""What can be chosen, and a choice as a recipe: the rules of `vaebm run`, for Python values. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaebm_toolkit import recipe as recipe_files
from vaebm_toolkit.cli.parts import RECIPE, as_in
from vaebm_toolkit.cli.plugins import listed, text
from vaebm_toolkit.errors import RecipeError, RunError, nearest
from vaebm_toolkit.hookspecs import KINDS
from vaebm_toolkit.notebook.listing import Entries, Listing
from vaebm_toolkit.options import fields
from vaebm_toolkit.recipe import ABSENT, DEFAULT_DATASET, Recipe, StageOptions, Table, merge
from vaebm_toolkit.registry import Registered, Registry, installed

Tables = Mapping[str, Mapping[str, Any] | str | None]
"""A recipe's tables. A text is the name of a part, None is none of that kind: {"buffer": None}."""
Source = str | Path | Tables | Recipe
"""A recipe: the name of a shipped one, a TOML file, a run, tables, or a resolved one."""


def recipes() -> Entries[str]:
    """The recipes that ship with the toolkit: name -> TOML text. Shows itself as a table."""
    found = recipe_files.shipped()
    rows = [[name, recipe_files.summary(toml)] for name, toml in found.items()]
    return Entries(found, Listing(["recipe", "what"], rows))


def parts(kind: str | None = None) -> Entries[Listing]:
    """The installed parts of a kind (or "kind/name" -> part, of all kinds), each with its options.

    >>> "resnet" in parts("energy"), "energy/resnet" in parts()
    (True, True)
    """
    if kind is not None and kind not in KINDS:
        raise RecipeError(f'There is no kind of part called "{kind}".', nearest(kind, KINDS))
    found = {
        name if kind is not None else f"{k}/{name}": registered
        for k in (KINDS if kind is None else (kind,))
        for name, registered in listed(installed(), k)
    }
    rows = [[name, r.distribution, r.component.summary] for name, r in found.items()]
    head = ["part" if kind is None else kind, "from", "what"]
    return Entries({name: options(r) for name, r in found.items()}, Listing(head, rows))


def options(registered: Registered) -> Listing:
    """The options of a part, and those of its stage for a trainer."""
    c = registered.component
    rows = [
        [key, f.words, text(f.default), f.unit, f.help + (f" ({f.check.words})" if f.check else "")]
        for cls in (c.options, StageOptions if c.kind == "trainer" else None)
        for key, f in fields(cls).items()
    ]
    about = ". ".join(s for s in (c.summary, c.cite) if s)
    return Listing(
        ["option", "type", "default", "unit", "meaning"], rows, f"{c.kind} {c.name}: {about}".rstrip(": ")
    )


def resolve(recipe: Source | Sequence[Source] | None = None, overrides: Tables | None = None) -> Recipe:
    """A recipe with every part chosen and every option checked, as `vaebm run --dry-run` prints it.

    recipe: a source, or several that lie over each other, as `--recipe` given more than once. What names no
    data set lies over the recipe of the data set. overrides: tables, for what flags are in the shell.

    >>> resolve("digits", {"energy": {"width": 32}, "buffer": None}).parts["energy"].options.width
    32
    """
    return resolved(recipe, overrides, None, installed())


def resolved(
    recipe: Source | Sequence[Source] | None,
    overrides: Tables | None,
    generator_from: Path | None,
    registry: Registry,
) -> Recipe:
    """`resolve`, with the generator and its stage as in the run `generator_from`."""
    one = isinstance(recipe, (str, Path, Mapping, Recipe))
    sources: Sequence[Source] = [] if recipe is None else [recipe] if one else recipe  # type: ignore
    over: dict[str, Table] = {}
    for source in sources:
        over = merge(over, tables_of(source))
    given = plain(overrides or {})
    stored = None if generator_from is None else tables_of(generator_from)
    if "dataset" not in over:
        if stored is not None and "name" not in given.get("dataset", {}):
            base = as_in([stored], registry, given)
        else:
            dataset = str(given.get("dataset", {}).get("name", DEFAULT_DATASET))
            base = recipe_files.read(recipe_files.base_recipe(registry, dataset))
        over = merge(base, over)
    tables = merge(over, given)
    if stored is not None:
        if stored.get("generator", {}).get("name", ABSENT) == ABSENT:
            raise RunError(f"The run {generator_from} has no generator.", "Choose another run.")
        for table in ("generator", "pretrain"):
            if table in given:
                raise RecipeError(
                    f"{table} cannot be given: the generator comes trained from {generator_from}.",
                    "Leave it out, or leave generator_from out.",
                )
            tables[table] = stored[table]
    refuse_unused(tables, given, registry)
    return recipe_files.resolve(tables, registry)


def tables_of(source: Source) -> dict[str, Table]:
    """The tables of a source, as TOML has them."""
    if isinstance(source, Recipe):
        return source.tables()
    if isinstance(source, Mapping):
        return plain(source)
    inside = Path(source, RECIPE)
    return recipe_files.read(inside if inside.is_file() else source)


def plain(tables: Tables) -> dict[str, Table]:
    """Tables of Python values as TOML would have them."""
    found = {
        name: {"name": ABSENT if table is None else table} if isinstance(table, str | None) else table
        for name, table in tables.items()
    }
    recipe_files.check_tables(found, "recipe")
    return {
        name: {key: str(v) if isinstance(v, Path) else v for key, v in table.items()}
        for name, table in found.items()
    }


def refuse_unused(tables: Mapping[str, Table], given: Mapping[str, Table], registry: Registry) -> None:
    """An override for a part that the trainer has no use for would silently do nothing."""
    for table in sorted(recipe_files.unused_tables(tables, registry) & given.keys()):
        if given[table].get("name") != ABSENT:
            trainer = tables.get("trainer", {}).get("name", recipe_files.DEFAULT_TRAINER)
            raise RecipeError(
                f"{table}: the trainer {trainer} as set here has no use for it.",
                "Leave it out, or choose another trainer: vt.parts('trainer')",
            )
