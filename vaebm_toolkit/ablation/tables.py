"""Ablation tables: TOML files whose rows are recipes, and the published figures beside them. Torch-free.

recipe = "digits"            # what every row lies over; digits where it is not said
reference = "vaebm"          # the row that others are compared with
[evaluate]                   # tables here are the same for all rows
samples = 1000
[[rows]]
name = "wgan"
title = "WGAN started from the decoder"
recipes = ["row-wgan"]       # option sets, one over the other
trainer = { steps = 700 }    # tables of this row
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.errors import RecipeError, nearest
from vaebm_toolkit.recipe import ABSENT, ORDER, Recipe, Table
from vaebm_toolkit.registry import Registry

GENERATOR = "generator"
"""The row of the generator alone: the run whose generator the other rows share."""


KEYS = ("recipe", "reference", "published", "rows", *ORDER)
SHARED = ("dataset", "generator", "pretrain", "evaluate", "run")
"""Tables that are the same for all rows."""


class Published(NamedTuple):
    """A published figure of a row."""

    value: float
    mark: str
    """S: from the paper's own tables; S2: as quoted by a third party"""
    where: str


class Row(NamedTuple):
    name: str
    title: str
    tables: Mapping[str, Table]
    """over the ablation's own tables"""


class Ablation(NamedTuple):
    """One table: its rows' recipes are `tables` with each row's own on top."""

    name: str
    summary: str
    reference: str
    tables: Mapping[str, Table]
    rows: tuple[Row, ...]
    published: bool = False
    """whether rows are the paper's, so that its figures stand beside them"""

    def only(self, names: Collection[str]) -> Ablation:
        """The table with the named rows, in its own order."""
        known = [row.name for row in self.rows]
        if not names:
            raise RecipeError("--rows names no row.", f"Known: {', '.join(known)}.")
        for name in names:
            if name not in known:
                raise RecipeError(
                    f'The ablation "{self.name}" has no row "{name}".',
                    f"{nearest(name, known)} See them: vaebm ablate --table {self.name} --dry-run",
                )
        return self._replace(rows=tuple(row for row in self.rows if row.name in names))

    def recipe(self, row: Row, seed: int, over: Mapping[str, Table], registry: Registry) -> Recipe:
        """The row's recipe: the ablation's, the row's, and what the caller says of all rows.

        The generator is shared, so a row cannot have another one; the row `generator` has no second stage.
        """
        tables = recipes.merge(recipes.merge(self.tables, row.tables), over)
        if row.name == GENERATOR:
            tables = recipes.merge(tables, {"trainer": {"name": ABSENT}})
        tables = recipes.merge(tables, {"run": {"seed": seed}})
        with of_row(row.name):
            return recipes.resolve(tables, registry)


@contextmanager
def of_row(name: str) -> Iterator[None]:
    """Inside, a refusal says which row it is about."""
    try:
        yield
    except RecipeError as e:
        raise RecipeError(f"row {name}: {e.message}", e.fix) from e


def shipped() -> dict[str, str]:
    """Name -> text of the tables inside the package."""
    folder = files("vaebm_toolkit") / "ablation" / "tables"
    found = {p.name[:-5]: p.read_text(encoding="utf-8") for p in folder.iterdir() if p.name.endswith(".toml")}
    return dict(sorted(found.items()))


def read(source: str) -> Ablation:
    """An ablation by the name of a shipped table or by file path."""
    path, known = Path(source), shipped()
    if path.suffix == ".toml" or path.is_file():
        if not path.is_file():
            raise RecipeError(f"There is no file {path}.", "List the shipped tables: vaebm ablate --list")
        text, name = path.read_text(encoding="utf-8"), path.stem
    elif source in known:
        text, name = known[source], source
    else:
        raise RecipeError(
            f'There is no ablation table "{source}".',
            f"{nearest(source, list(known))} List them: vaebm ablate --list",
        )
    try:
        return parsed(name, tomllib.loads(text), recipes.summary(text))
    except tomllib.TOMLDecodeError as e:
        instead = "Mend it, or list the shipped tables: vaebm ablate --list"
        raise RecipeError(f"{source} is not TOML: {e}.", instead) from e


def parsed(name: str, table: Mapping[str, Any], summary: str) -> Ablation:
    """An ablation from its file's content, or a RecipeError that names the key."""
    where = f"table {name}"
    for key in table:
        if key not in KEYS:
            raise RecipeError(f'{where}: "{key}" is no key of ablation tables.', nearest(key, KEYS))
    if not isinstance(table.get("rows"), list) or not table["rows"]:
        raise RecipeError(f"{where}: it has no rows.", 'Write one: [[rows]], then name = "vaebm"')
    shared = {k: v for k, v in table.items() if k in ORDER}
    recipes.check_tables(shared, where)
    base = recipes.read(str(table.get("recipe", recipes.DEFAULT_DATASET)))
    rows = tuple(row_of(entry, where) for entry in table["rows"])
    names = [row.name for row in rows]
    for twice in {n for n in names if names.count(n) > 1}:
        raise RecipeError(f'{where}: two rows are called "{twice}".', "Give each its own name.")
    reference = str(table.get("reference", names[-1]))
    if reference not in names:
        raise RecipeError(f'{where}: reference = "{reference}" is no row.', nearest(reference, names))
    return Ablation(
        name, summary, reference, recipes.merge(base, shared), rows, table.get("published") is True
    )


def row_of(entry: Mapping[str, Any], where: str) -> Row:
    if not isinstance(entry, dict) or not str(entry.get("name", "")).replace("-", "").isalnum():
        raise RecipeError(
            f"{where}: every row needs a name of letters, digits and hyphens.", 'Write e.g. name = "vaebm"'
        )
    name = str(entry["name"])
    if not isinstance(entry.get("recipes", []), list):
        raise RecipeError(
            f"{where}, row {name}: recipes must be a list.", 'Write e.g. recipes = ["row-wgan"]'
        )
    tables: dict[str, Table] = {}
    for source in entry.get("recipes", ()):
        tables = recipes.merge(tables, recipes.read(source))
    own = {k: v for k, v in entry.items() if k not in ("name", "title", "recipes")}
    recipes.check_tables(own, f"{where}, row {name}")
    tables = recipes.merge(tables, own)
    for key in SHARED:
        if key in tables:
            raise RecipeError(
                f"{where}, row {name}: [{key}] is the same for all rows.",
                f"Put it above the rows, as [{key}].",
            )
    return Row(name, str(entry.get("title", name)), tables)


PUBLISHED: dict[str, tuple[Published, ...]] = {
    "generator": (Published(51.67, "S", "table 1"),),
    "ebm": (Published(48.89, "S2", "ablation"), Published(40.58, "S", "table 1, IGEBM")),
    "wgan": (Published(20.39, "S2", "ablation"),),
    "vaebm-kl": (Published(14.0, "S2", "ablation"),),
    "vaebm-no-buffer": (Published(12.26, "S", "table 1"),),
    "vaebm": (Published(12.96, "S2", "ablation"), Published(12.19, "S", "table 1")),
}
"""Row -> its figures in VAEBM (Xiao et al., ICLR 2021): FID on CIFAR-10, 50,000 samples, training split."""

MARKS = {"S": "read in the paper's own tables", "S2": "as quoted by a third party"}
