"""The table of equations: its functions exist, and so do the tests that it points to."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PREFIXES = ("vaebm_toolkit.", "vaebm_toolkit.core.", "")
AS_ABOVE = ("the same", "everything above")


class Row(NamedTuple):
    claim: str
    functions: str
    tests: str


def rows() -> list[Row]:
    """The first table of the page."""
    lines = (ROOT / "docs/mathematics.md").read_text(encoding="utf-8").splitlines()
    head = lines.index("| claim | function | test |")
    found = []
    for line in lines[head + 2 :]:
        if not line.startswith("|"):
            break
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        assert len(cells) == 3, f"not three cells: {line}"
        found.append(Row(*(c.strip() for c in cells)))
    return found


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def find(name: str) -> Any:
    """The object of a dotted name, which may leave out `vaebm_toolkit.` or `vaebm_toolkit.core.`"""
    for prefix in PREFIXES:
        path = (prefix + name).split(".")
        for i in range(len(path), 0, -1):
            try:
                found = importlib.import_module(".".join(path[:i]))
            except ImportError:
                continue
            try:
                for attribute in path[i:]:
                    found = getattr(found, attribute)
            except AttributeError:
                break
            return found
    raise LookupError(f"{name}: there is nothing of this name in the toolkit or its plugins")


@pytest.mark.parametrize("row", rows(), ids=lambda r: r.functions[:40])
def test_row(row: Row) -> None:
    functions = quoted(row.functions)
    assert functions or row.functions.startswith(AS_ABOVE), f"no function: {row.functions}"
    owner = ""
    for name in functions:
        whole = owner + name if name.startswith(".") else name
        owner = whole.rpartition(".")[0]
        find(whole)
    paths = [p for p in quoted(row.tests) if "/" in p]
    assert paths or row.tests.startswith(AS_ABOVE), f"no test: {row.tests}"
    for path in paths:
        assert (ROOT / path).exists(), f"there is no {path}"
