"""Markdown that reads the same on a code-hosting site and in the built one."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Sequence

CODE = re.compile(r"(`[^`]*`)")


def escaped(text: str) -> str:
    """Plain words as Markdown; what stands in backticks is left as code.

    >>> escaped("(B, *shape), `a*b`")
    '(B, \\\\*shape), `a*b`'
    """
    parts = CODE.split(text)
    return "".join(p if p.startswith("`") else _escaped(p) for p in parts)


def _escaped(text: str) -> str:
    text = re.sub(r"([*<]|^>)", r"\\\1", text.replace("\\", "\\\\"), flags=re.MULTILINE)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are Markdown already; a bar in one is escaped here. Columns that are empty throughout go."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in rows)]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)


def fenced(text: str, language: str = "text") -> str:
    return f"```{language}\n{text}\n```"


def docstring(text: str | None) -> str:
    """A docstring as Markdown: paragraphs, and blocks of code where it is indented, aligned or a session."""
    text = re.sub(r"(^ {4}.*)\n\n(?= {4})", r"\1\n    \n", inspect.cleandoc(text or ""), flags=re.MULTILINE)
    out: list[str] = []
    for block in text.split("\n\n"):
        if block.startswith("    ") or re.match(r"\w+  +\S", block):
            lines = inspect.cleandoc("\n" + block)
            out.append(fenced(lines, "python" if is_python(lines) else "text"))
        elif block.lstrip().startswith(">>>"):
            out.append(fenced(block, "pycon"))
        elif block.strip():
            out.append(escaped(block))
    return "\n\n".join(out)


def is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def page(title: str, *blocks: str) -> str:
    return "\n\n".join([f"# {title}", *(b for b in blocks if b)]) + "\n"
