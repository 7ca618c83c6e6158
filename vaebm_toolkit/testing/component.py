"""Claims about every part: its declaration, its options, the import of its entry module."""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from typing import Any

import attrs

from vaebm_toolkit.citation import cited
from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.hookspecs import GROUP, KINDS
from vaebm_toolkit.options import fields, from_toml, parse, slots
from vaebm_toolkit.recipe import ABSENT, StageOptions, shipped
from vaebm_toolkit.registry import installed, load_factory
from vaebm_toolkit.testing.claims import Claims, Fault, Skip, raised
from vaebm_toolkit.testing.subject import Subject

CLAIMS = Claims()
HEAVY = ("torch", "torchvision", "numpy", "scipy", "matplotlib", "pandas", "sklearn")
IMPORT = """
import contextlib, importlib, io, json, sys, time
import click
from vaebm_toolkit.discovery import asked
module, hooks = sys.argv[1], sys.argv[2] == "True"
before, start = set(sys.modules), time.process_time()
with contextlib.redirect_stdout(io.StringIO()) as printed:
    loaded = importlib.import_module(module)
    if hooks:
        asked(loaded, module)
        if hasattr(loaded, "vaebm_commands"):
            loaded.vaebm_commands(cli=click.Group())
print(json.dumps([sorted(set(sys.modules) - before), printed.getvalue(), time.process_time() - start]))
"""


@CLAIMS.add
def declares_itself(s: Subject) -> str | None:
    """Its name can be typed, and a line says what it is."""
    c = s.component
    if not re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", c.name) or c.name == ABSENT:
        raise Fault(
            f'its name is "{c.name}"',
            f'lower-case letters, digits and dashes, e.g. "my-{c.kind}", and not "{ABSENT}"',
            "Component(name=…)",
        )
    if not c.summary.strip() or "\n" in c.summary:
        raise Fault(
            "it has no summary" if not c.summary.strip() else "its summary has several lines",
            "one line for `vaebm plugins list`",
            'Component(summary="…")',
        )
    if c.recipe and c.recipe not in shipped():
        raise Fault(
            f'its recipe "{c.recipe}" is not among the shipped ones',
            f"one of {', '.join(shipped())}",
            'Leave it out, or Component(recipe="images")',
        )
    return None


@CLAIMS.add
def says_where_it_comes_from(s: Subject) -> str | None:
    """It names its source, and the BibTeX that `vaebm cite` prints for it is there."""
    if s.component.bibtex:
        cited(s.registered)
    if not s.component.cite:
        raise Skip("It names no source; Component(cite=…) is where one belongs.")
    return s.component.cite


@CLAIMS.add
def factory_is_found(s: Subject) -> str | None:
    """What builds the part can be imported and called."""
    factory = load_factory(s.registered)
    if not callable(factory):
        raise Fault(
            f"{s.component.factory} is a {type(factory).__name__}",
            "something to call",
            'factory="module:function"',
        )
    if s.component.kind == "importer":
        try:
            inspect.signature(factory).bind(None, checkpoint=None, file=None)
        except TypeError as e:
            raise Fault(
                f"it cannot be called: {e}", "factory(options, checkpoint=…, file=…)", "Take these keywords."
            ) from e
    return s.component.factory


@CLAIMS.add
def options_are_declared(s: Subject) -> str | None:
    """Every option has a help line, a name that can be typed, and one meaning."""
    c = s.component
    declared = fields(c.options)
    for key, f in declared.items():
        if not f.help.strip():
            raise Fault(
                f'option "{key}" has no help', "words for `--help` and `plugins show`", 'opt(default, "…")'
            )
        if not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            raise Fault(
                f'option "{key}" cannot be a flag', "lower-case letters, digits, underscores", "Rename it."
            )
        taken = ["name", *(fields(StageOptions) if c.kind == "trainer" else ())]
        if key in taken:
            raise Fault(
                f'option "{key}" is already a key of every [{c.kind}] table', "a key of its own", "Rename it."
            )
    undeclared = (
        [a.name for a in attrs.fields(c.options) if a.name not in {**declared, **slots(c.options)}]
        if c.options
        else []
    )
    if undeclared:
        raise Fault(
            f'field "{undeclared[0]}" of its options is neither opt(…) nor slot(…)',
            "options that users can set",
            "Declare it with opt, or make it a property.",
        )
    return f"{len(declared)} options"


@CLAIMS.add
def defaults_and_example_are_allowed(s: Subject) -> str | None:
    """The defaults, and the example's values, pass the checks that a user's would."""
    c = s.component
    for key, f in fields(c.options).items():
        if f.default is attrs.NOTHING:
            raise Fault(f'option "{key}" has no default', "a part that runs as it is", "opt(default, …)")
        try:
            parse(c.options, {key: f.default}, c.kind)
        except RecipeError as e:
            raise Fault(
                f'the default of option "{key}" is refused: {e.message}',
                "a default that a user could type",
                "Change the default or its check.",
            ) from e
    if c.options is not None:
        c.options()
    try:
        s.options()
    except RecipeError as e:
        raise Fault(f"its example is refused: {e}", "options of the part", "Component(example={…})") from e
    return None


@CLAIMS.add
def wrong_values_are_refused(s: Subject) -> str | None:
    """A value of another type, or out of range, is a RecipeError and never a crash."""
    for key, f in fields(s.component.options).items():
        for value in (-1, 0, 1, 0.5, -1e30, 1e30, "", "nonsense", True, [], [0], "none"):
            try:
                from_toml(value, f.type, key)
            except RecipeError:
                continue
            try:
                parse(s.component.options, {key: value}, s.component.kind)
            except RecipeError:
                continue
            except Exception as e:
                raise Fault(
                    f'the check of option "{key}" fails on {value!r}: {raised(e)}',
                    "true or false for every value of the option's type",
                    "Check(words, function): let the function refuse.",
                ) from e
    return None


@CLAIMS.add
def slots_can_be_filled(s: Subject) -> str | None:
    """The parts that it works with are of kinds that exist, and the usual ones are installed."""
    wanted = slots(s.component.options)
    for field, slot in wanted.items():
        if slot.kind not in KINDS:
            raise Fault(
                f'slot "{field}" asks for a "{slot.kind}"', f"one of {', '.join(KINDS)}", "slot(kind, …)"
            )
        if slot.default == ABSENT:
            if not slot.optional and slot.when is None:
                raise Fault(
                    f'slot "{field}" is "none" by default, but not optional',
                    "a default that can be used",
                    "slot(…, optional=True)",
                )
        elif (slot.kind, slot.default) not in {**installed().parts, **installed().shadowed}:
            raise Fault(
                f'slot "{field}" is "{slot.default}" by default, which is not installed',
                f"one of {', '.join(installed().names(slot.kind))}",
                "Depend on the package that has it, or choose another default.",
            )
    return ", ".join(wanted) or None


@CLAIMS.add
def imports_lightly(s: Subject) -> str | None:
    """Importing the entry module imports no torch or numpy and prints nothing: every command does it."""
    if s.registered.file:
        raise Skip("It is a single file.")
    points = {p.name: p.value for p in entry_points(group=GROUP)}
    module = points.get(s.registered.distribution)
    if module is None and s.component.options is not None:
        new, printed, seconds = imported(s.component.options.__module__, False)
        module = s.component.options.__module__
    elif module is None:
        raise Skip("It is not installed, so its entry module is not known.")
    else:
        new, printed, seconds = imported(module, True)
    heavy = [m for m in HEAVY if m in new]
    if heavy:
        raise Fault(
            f"importing {module} imports {', '.join(heavy)}",
            "none of them, so that `vaebm --help` stays quick",
            "Import them in the module that the factory is in; options live in one that does not.",
        )
    if printed:
        raise Fault(
            f"importing {module} prints {printed.splitlines()[0][:60]!r}",
            "nothing, so that what commands print can be piped",
            "Remove the print.",
        )
    return f"{seconds:.2f} s of CPU time"


@functools.cache
def imported(module: str, hooks: bool) -> tuple[list[str], str, float]:
    """What a fresh process imports and prints with `module`, and how long it takes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, module, str(hooks)], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        said: Any = (done.stderr.strip().splitlines() or ["it ended"])[-1]
        raise Fault(f"importing {module} fails: {said}", "an import that works by itself", "Mend the import.")
    new, printed, seconds = json.loads(done.stdout.splitlines()[-1])
    return new, printed.strip(), seconds
