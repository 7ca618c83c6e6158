"""Loading one plugin by itself: what it announces, or what is wrong with it. Torch-free."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import os
import re
import sys
import time
import zlib
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Any, Literal

import attrs
import pluggy

from vaebm_toolkit import hookspecs
from vaebm_toolkit.errors import RecipeError, ToolkitError, nearest
from vaebm_toolkit.hookspecs import API, GROUP, KINDS, OLDEST_API, Component

FILES, DISABLED = "VAEBM_PLUGINS", "VAEBM_DISABLE_PLUGINS"
"""Environment variables: files to use as plugins, and plugins not to use."""
DECLARATION = "vaebm_api"


@attrs.frozen
class Source:
    """Where parts come from: a distribution, or a single file."""

    name: str
    version: str = ""
    location: str = ""
    licence: str = ""
    api: int = API
    seconds: float = 0.0
    """that its import took"""
    file: bool = False
    """a single file given by --plugin"""


@attrs.frozen
class Problem:
    """Something wrong with a plugin; `fix` is what to do about it.

    broken: it, or one of its parts, cannot be used as it wants to be. note: it works, and could be better.
    """

    distribution: str
    message: str
    fix: str
    level: Literal["broken", "note"] = "broken"

    def __str__(self) -> str:
        return f"plugin {self.distribution}: {self.message} {self.fix}"


@attrs.frozen
class Announced:
    """A healthy plugin: its module, its parts, and what could be better about it."""

    source: Source
    module: Any
    components: tuple[Component, ...]
    notes: tuple[Problem, ...]


def manager() -> pluggy.PluginManager:
    pm = pluggy.PluginManager(GROUP)
    pm.add_hookspecs(hookspecs)
    return pm


def announce(point: EntryPoint) -> Announced:
    """Import a plugin's entry module and ask it for its parts; ToolkitError says what is wrong.

    What it prints meanwhile is kept from the output of commands, and becomes a note.
    """
    check_api(declared_api(point), point.dist)
    had_torch, before = "torch" in sys.modules, time.process_time()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        module = point.load()
        components = asked(module, point.name)
    source = source_of(point, module, time.process_time() - before)
    notes = []
    if text := printed.getvalue().strip():
        notes.append(
            Problem(
                point.name,
                f"it prints when it is imported ({text.splitlines()[0][:60]!r}), which was kept back.",
                "Print nothing there, so that what commands print can be piped.",
                "note",
            )
        )
    if "torch" in sys.modules and not had_torch:
        notes.append(
            Problem(
                point.name,
                "importing it imports torch, so that every command waits for it.",
                "Import torch in the module that the factory is in, and not in the entry module.",
                "note",
            )
        )
    return Announced(source, module, components, tuple(notes))


def asked(module: Any, name: str) -> tuple[Component, ...]:
    """The parts of an entry module, whose hooks and parts are checked."""
    check_api(getattr(module, DECLARATION, OLDEST_API), None)
    alone = manager()
    alone.register(module, name=name)
    check_hook_names(module)
    alone.check_pending()
    components = tuple(c for found in alone.hook.vaebm_components() for c in found)
    for c in components:
        check_component(c)
    return components


def declared_api(point: EntryPoint) -> Any:
    """`vaebm_api = N` as it stands in the entry module's source, read before anything of it runs."""
    try:
        spec = importlib.util.find_spec(point.module)
        text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    except (ImportError, OSError, ValueError, AttributeError):
        return OLDEST_API  # importing it will say what is wrong
    return api_in(text)


def api_in(text: str) -> Any:
    """
    >>> api_in("import this\\nvaebm_api = 3"), api_in("")
    (3, 1)
    """
    found = re.search(rf"^{DECLARATION}\s*(?::[^=\n]+)?=\s*([^#\n]+)", text, flags=re.MULTILINE)
    if found is None:
        return OLDEST_API
    try:
        return ast.literal_eval(found[1].strip())
    except (ValueError, SyntaxError):
        return OLDEST_API  # computed; read after the import


def check_api(api: Any, dist: Distribution | None) -> None:
    if not isinstance(api, int) or isinstance(api, bool):
        raise ToolkitError(
            f"its {DECLARATION} is {api!r}, not a whole number.", f"Write {DECLARATION} = {API}"
        )
    if api > API:
        needs = [
            r for r in (dist.requires or () if dist else ()) if re.match(r"vaebm[-_.]toolkit\b", r, re.I)
        ]
        asks = f" (it asks for {needs[0]})" if needs else ""
        raise ToolkitError(
            f"it is too new: written for contract {api}, and this toolkit has contract {API}{asks}.",
            "Upgrade the toolkit: pip install --upgrade vaebm-toolkit",
        )
    if api < OLDEST_API:
        name = dist.metadata["Name"] if dist else "NAME"
        raise ToolkitError(
            f"it is too old: written for contract {api}, and this toolkit takes {OLDEST_API} to {API}.",
            f"Upgrade it: pip install --upgrade {name}",
        )


def check_hook_names(module: Any) -> None:
    known = [n for n in vars(hookspecs) if n.startswith("vaebm_")]
    for attribute in vars(module):
        if attribute.startswith("vaebm_") and attribute not in known and callable(getattr(module, attribute)):
            raise ToolkitError(
                f"it declares a hook {attribute}, which does not exist.", nearest(attribute, known)
            )


def check_component(c: Any) -> None:
    if not isinstance(c, Component):
        raise ToolkitError(
            f"vaebm_components returned {c!r}, which is not a Component.",
            "Return vaebm_toolkit.Component(kind=..., name=..., factory=...).",
        )
    if c.kind not in KINDS:
        raise ToolkitError(f'its part "{c.name}" has the unknown kind "{c.kind}".', nearest(c.kind, KINDS))
    if c.options is not None and not attrs.has(c.options):
        raise ToolkitError(
            f'the options of its {c.kind} "{c.name}" are not an attrs class.',
            "Decorate the class with vaebm_toolkit.frozen.",
        )
    if ":" not in c.factory:
        raise ToolkitError(
            f'the factory "{c.factory}" of its {c.kind} "{c.name}" is not "module:callable".',
            'Write factory="package.module:name".',
        )


def problem(point: EntryPoint, error: BaseException) -> Problem:
    """What stopped a plugin, in words."""
    package = point.dist.metadata["Name"] if point.dist is not None else point.name
    remove = f"Mend it, or remove it: pip uninstall {package}"
    if isinstance(error, ToolkitError):
        return Problem(point.name, error.message, error.fix or remove)
    kind = type(error).__name__
    return Problem(point.name, f"it fails to load: {kind}: {error}.", remove)


def source_of(point: EntryPoint, module: Any, seconds: float) -> Source:
    """What `vaebm plugins list --verbose` shows of a distribution."""
    file = getattr(module, "__file__", None)
    location = str(Path(file).parent) if file else ""
    api = getattr(module, DECLARATION, OLDEST_API)
    if point.dist is None:
        return Source(point.name, location=location, api=api, seconds=seconds)
    return Source(point.name, point.dist.version, location, licence(point.dist), api, seconds)


def licence(dist: Distribution) -> str:
    """The licence that a distribution's metadata names; "" if none."""
    metadata = dist.metadata
    for key in ("License-Expression", "License"):
        if key in metadata and (value := metadata[key].strip()):
            return value.splitlines()[0][:60]
    classifiers = metadata.get_all("Classifier") or []
    return ", ".join(c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License ::"))


def load_file(file: Path) -> Announced:
    """A single file as a plugin; RecipeError with the line that fails."""
    shown = os.path.relpath(file)
    if not file.is_file() or file.suffix != ".py":
        what = "is not a Python file" if file.exists() else "does not exist"
        raise RecipeError(
            f"--plugin {shown}: it {what}.",
            "Write one: vaebm plugins new energy NAME --single-file",
        )
    name = "vaebm_file_" + re.sub(r"\W", "_", file.stem)
    held = sys.modules.get(name)
    if held is not None and Path(str(held.__file__)) != file.resolve():
        name += f"_{zlib.crc32(str(file.resolve()).encode()):x}"
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    assert spec is not None
    assert spec.loader is not None
    before = time.process_time()
    try:
        check_api(api_in(file.read_text(encoding="utf-8")), None)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # options and factories are found by the module's name
        with contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
            components = asked(module, file.name)
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # a file may even call sys.exit
        sys.modules.pop(name, None)
        raise RecipeError(f"--plugin {shown}{told(e, file)}", "Mend it and try again.") from e
    source = Source(
        file.name, "", str(file.resolve()), api=getattr(module, DECLARATION, OLDEST_API),
        seconds=time.process_time() - before, file=True,
    )  # fmt: skip
    return Announced(source, module, components, ())


def told(error: BaseException, file: Path) -> str:
    """`:line: what went wrong`, the line being the last one of the file that was running."""
    if isinstance(error, ToolkitError):
        return f": {error}"
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file.resolve()):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{'' if line is None else f':{line}'}: {type(error).__name__}: {error}"


def disabled(environment: Mapping[str, str]) -> set[str]:
    """The names in VAEBM_DISABLE_PLUGINS, in the spelling of package indexes.

    >>> sorted(disabled({"VAEBM_DISABLE_PLUGINS": "Acme_Energy, other"}))
    ['acme-energy', 'other']
    """
    return {normal(n) for n in re.split(r"[,\s]+", environment.get(DISABLED, "")) if n}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def plugin_files(environment: Mapping[str, str]) -> Iterable[Path]:
    """The files in VAEBM_PLUGINS, separated as paths are in PATH, each once."""
    named = [Path(p) for p in environment.get(FILES, "").split(os.pathsep) if p]
    return list(dict.fromkeys(named))
