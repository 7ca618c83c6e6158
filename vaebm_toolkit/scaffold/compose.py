"""One module of several: their imports together, then what each does."""

from __future__ import annotations

import ast
import re
import sys

Imports = dict[str, set[str]]
"""Module -> the names imported from it; "" among them for the module itself."""


def compose(docstring: str, *pieces: str) -> str:
    """A module of the `pieces`, each a module by itself, whose imports stand on top.

    Relative ones on top of a piece are left out: what they name is in another piece.
    """
    found: Imports = {}
    bodies = [split(piece, found) for piece in pieces]
    return f'"""{docstring}"""\n\n{written(found)}\n\n' + "\n\n\n".join(bodies) + "\n"


def split(piece: str, found: Imports) -> str:
    """The piece without docstring and imports; the latter are added to `found`."""
    after = 0
    for node in ast.parse(piece).body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"
                found.setdefault(name, set()).add("")
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                found.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            break
        after = node.end_lineno or 0
    return "".join(piece.splitlines(keepends=True)[after:]).strip()


def without_inner_imports(piece: str) -> str:
    """The piece without relative imports inside functions."""
    return re.sub(r"^ +from \..* import .*\n\n?", "", piece, flags=re.MULTILINE)


def written(found: Imports) -> str:
    """The import lines as ruff sorts them: Python's own, installed ones, the toolkit's."""
    sections: list[list[str]] = [[], [], []]
    for whole in (True, False):
        for module in sorted(found):
            top = module.partition(".")[0].partition(" ")[0]
            section = sections[0 if top in sys.stdlib_module_names else 2 if top == "vaebm_toolkit" else 1]
            names = sorted(found[module] - {""}, key=lambda n: (not n[0].isupper(), n))
            if whole and "" in found[module]:
                section.append(f"import {module}")
            elif not whole and names:
                section.append(f"from {module} import {', '.join(names)}")
    return "\n\n".join("\n".join(lines) for lines in sections if lines)
