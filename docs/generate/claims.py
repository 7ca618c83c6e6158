"""The page of the claims that parts are checked for."""

from __future__ import annotations

import importlib

from markdown import escaped, table

from vaebm_toolkit.hookspecs import KINDS
from vaebm_toolkit.testing import component


def claims() -> str:
    """Every claim by kind, in the order in which they are measured."""
    found = [
        "# Claims\n",
        "What `vaebm plugins check` and `vaebm_toolkit.testing` measure.\n",
        "## Every part\n",
    ]
    found.append(rows(component.CLAIMS))
    for kind in KINDS:
        if kind == "importer":
            continue
        module = importlib.import_module(f"vaebm_toolkit.testing.{kind}")
        found += [f"## {kind.capitalize()}\n", rows(module.CLAIMS)]
    return "\n".join(found)


def rows(found: list) -> str:
    return table(["claim", "what is measured"], [[c.name, escaped(c.words)] for c in found]) + "\n"
