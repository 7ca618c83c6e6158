"""The files of a new plugin, as text."""

from __future__ import annotations

import datetime
import json
import tomllib
from importlib.resources import files
from string import Template
from typing import Any

from attrs import field, frozen

from vaebm_toolkit import __version__
from vaebm_toolkit.hookspecs import API
from vaebm_toolkit.scaffold.compose import compose, without_inner_imports
from vaebm_toolkit.scaffold.names import Called, distribution_of, module_of

TEMPLATES = files("vaebm_toolkit") / "scaffold" / "templates"
LOGGER = "logger"
KINDS = ("generator", "energy", "sampler", "buffer", "trainer", "dataset", "metric", "features", LOGGER)
LINE = 110
LICENCES = ("MIT", "Apache-2.0", "BSD-3-Clause", "none")


@frozen
class Wanted:
    """What a new plugin is to be."""

    kind: str
    name: str
    called: Called
    licence: str = "MIT"
    author: str = ""
    """"Name" or "Name <mail>"; nobody by default"""


@frozen
class About:
    """templates/parts/KIND/about.toml"""

    article: str
    summary: str
    run: str
    """the flags of a `vaebm run` that uses it"""
    change: str
    options: str
    kind_words: str
    cite: str = ""
    bibtex: str = ""
    recipe: str = ""
    example: dict[str, Any] = field(factory=dict)


def package(wanted: Wanted) -> dict[str, str]:
    """Path in the package -> text."""
    kind, module = wanted.kind, module_of(wanted.name)
    words = words_of(wanted)
    entry = compose(
        f"{words['distribution']}: options and declaration. No torch here: lists and help stay quick.",
        f"vaebm_api = {API}",
        part(kind, "options"),
        declaration(words, f'"{module}.{kind}:build"'),
    )
    found = {
        "pyproject.toml": template("pyproject.toml.txt", words),
        "README.md": template("README.md.txt", words),
        "LICENSE": licence(wanted),
        ".gitignore": template("gitignore.txt", words),
        f"src/{module}/__init__.py": entry,
        f"src/{module}/{kind}.py": part(kind, kind),
        "tests/test_contract.py": template("test_contract.py.txt", words),
    }
    return {path: text for path, text in found.items() if text}


def in_one_file(wanted: Wanted, file: str) -> str:
    """The same part in one file of this name."""
    kind, words = wanted.kind, words_of(wanted)
    code = part(kind, kind)
    first = code.partition('"""')[2].partition('"""')[0]
    command = f"vaebm run --plugin ./{file} {flags(wanted)}"
    if len(command) > LINE:
        command = f"vaebm run --plugin ./{file} \\\\\n    {flags(wanted)}"
    hook = without_inner_imports(declaration(words, 'f"{__name__}:build"'))
    return compose(f"{first}\n\n{command}\n", f"vaebm_api = {API}", part(kind, "options"), code, hook)


def flags(wanted: Wanted) -> str:
    """The flags of a `vaebm run` that uses the new part."""
    return Template(about(wanted.kind).run).substitute(use=wanted.called.use)


def words_of(wanted: Wanted) -> dict[str, str]:
    """What stands for each $word of the templates."""
    a, name = about(wanted.kind), wanted.name
    words = {
        "kind": wanted.kind, "name": name, "use": wanted.called.use,
        "distribution": distribution_of(name), "module": module_of(name), "version": __version__,
        "variable": f"VAEBM_{name}".upper().replace("-", "_"),
        "run": f"vaebm run {flags(wanted)}", "checked": wanted.called.checked,
        "list": "vaebm plugins list " + ("--verbose" if wanted.kind == LOGGER else wanted.kind),
        "article": a.article, "kind_words": a.kind_words, "summary": a.summary, "change": a.change,
        "description": f"{a.article.capitalize()} {a.kind_words} for vaebm_toolkit: {a.summary}",
        "about": "".join(f"{line}\n" for line in ownership(wanted)),
        "more": "".join(f"        {key}={json.dumps(value, ensure_ascii=False)},\n"
                        for key in ("cite", "bibtex", "recipe", "example") if (value := getattr(a, key))),
    }  # fmt: skip
    return {**words, "options": Template(a.options).substitute(words)}


def declaration(words: dict[str, str], factory: str) -> str:
    """The hook of the entry module."""
    file = "step_end.py.txt" if words["kind"] == LOGGER else "component.py.txt"
    return template(file, {**words, "factory": factory})


def ownership(wanted: Wanted) -> list[str]:
    """The lines of pyproject.toml that say whose it is."""
    lines = [] if wanted.licence == "none" else [f'license = "{wanted.licence}"']
    if wanted.author:
        name, _, mail = wanted.author.partition("<")
        given = {"name": name.strip(), "email": mail.rstrip("> ")}
        inner = ", ".join(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in given.items() if v)
        lines.append(f"authors = [{{ {inner} }}]")
    return lines


def licence(wanted: Wanted) -> str:
    """The text of the licence; "" for none."""
    if wanted.licence == "none":
        return ""
    holder = wanted.author or f"the authors of {distribution_of(wanted.name)}"
    words = {"year": str(datetime.date.today().year), "author": holder}
    return template(f"licences/{wanted.licence}.txt", words)


def about(kind: str) -> About:
    table = tomllib.loads((TEMPLATES / "parts" / kind / "about.toml").read_text(encoding="utf-8"))
    return About(**{"kind_words": kind, **table})


def part(kind: str, piece: str) -> str:
    return (TEMPLATES / "parts" / kind / f"{piece}.py").read_text(encoding="utf-8")


def template(file: str, words: dict[str, str]) -> str:
    return Template((TEMPLATES / file).read_text(encoding="utf-8")).substitute(words)
