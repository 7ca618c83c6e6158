"""Which parts exist. A broken plugin is reported here and never stops anything else."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
import pluggy

from vaebm_toolkit.discovery import (
    DISABLED,
    FILES,
    Announced,
    Problem,
    Source,
    announce,
    disabled,
    load_file,
    manager,
    normal,
    plugin_files,
    problem,
)
from vaebm_toolkit.errors import RecipeError, ToolkitError, nearest
from vaebm_toolkit.hookspecs import GROUP, Component

OWN = (
    "vaebm-toolkit",
    "vaebm-nvae",
    "vaebm-igebm",
    "vaebm-langevin",
    "vaebm-mcmc",
    "vaebm-replay",
    "vaebm-backbones",
    "vaebm-torchebm",
    "vaebm-diffusers",
)
"""Distributions of this project; discovered first, so that no stranger takes their names."""


class UnknownPart(RecipeError):
    """There is no part of this kind and name."""

    def __init__(self, kind: str, name: str, message: str, fix: str) -> None:
        super().__init__(message, fix)
        self.kind, self.name = kind, name


@attrs.frozen
class Registered:
    """A component and the distribution it came from."""

    component: Component
    distribution: str
    version: str = ""
    file: str = ""
    """the single file that it is in, if it came by --plugin"""

    def __str__(self) -> str:
        """energy resnet (vaebm-igebm 0.1.0)"""
        return (
            f"{self.component.kind} {self.component.name} ({self.distribution} {self.version}".rstrip() + ")"
        )


@attrs.define
class Registry:
    """All components by kind and name, the hooks of healthy plugins, and the problems."""

    parts: dict[tuple[str, str], Registered] = attrs.field(factory=dict)
    shadowed: dict[tuple[str, str], Registered] = attrs.field(factory=dict)
    problems: list[Problem] = attrs.field(factory=list)
    hooks: pluggy.PluginManager = attrs.field(factory=lambda: manager())
    sources: dict[str, Source] = attrs.field(factory=dict)
    disabled: list[str] = attrs.field(factory=list)

    def find(self, kind: str, name: str) -> Registered:
        """The part users mean by `name`, or by `distribution:name`."""
        found = self.parts.get((kind, name)) or self.shadowed.get((kind, name))
        if found is None:
            raise UnknownPart(
                kind,
                name,
                f'There is no {kind} called "{name}".',
                f"{nearest(name, self.names(kind))} List them: vaebm plugins list {kind}{self.absent()}",
            )
        return found

    def absent(self) -> str:
        """Plugins whose parts are missing, in a sentence."""
        broken = list(
            dict.fromkeys(
                p.distribution
                for p in self.problems
                if p.level == "broken" and p.distribution not in self.sources
            )
        )
        said = [f"Not loaded: {', '.join(broken)}; why: vaebm plugins list."] if broken else []
        said += [f"Disabled by {DISABLED}: {', '.join(self.disabled)}."] if self.disabled else []
        return "".join(f"\n  {s}" for s in said)

    def names(self, kind: str) -> list[str]:
        return [n for k, n in self.parts if k == kind]

    def of_kind(self, kind: str) -> list[Registered]:
        return [r for (k, _), r in self.parts.items() if k == kind]

    def admit(self, plugin: Announced) -> None:
        """Let in the parts and hooks of a plugin that has announced itself."""
        self.hooks.register(plugin.module, name=plugin.source.name)
        self.sources[plugin.source.name] = plugin.source
        self.problems.extend(plugin.notes)
        s = plugin.source
        for component in plugin.components:
            self.add(Registered(component, s.name, s.version, s.location if s.file else ""))

    def add(self, registered: Registered) -> None:
        """Add a part; a second one of the same name stays reachable as `distribution:name`."""
        c, source = registered.component, registered.distribution
        key, full = (c.kind, c.name), f"{source}:{c.name}"
        holder = self.parts.get(key)
        if holder is None:
            self.parts[key] = registered
        elif holder.distribution == source:
            fix = "Give one of them another name; the first is used."
            self.problems.append(Problem(source, f'it offers two {c.kind} parts "{c.name}".', fix))
            return
        else:
            use = f"vaebm import {full}" if c.kind == "importer" else f"--{c.kind} {full}"
            self.problems.append(
                Problem(
                    source,
                    f'its {c.kind} "{c.name}" has a name that {holder.distribution} already uses.',
                    f"Use it as {use}, and the other as {holder.distribution}:{c.name} or {c.name}",
                )
            )
        self.shadowed[c.kind, full] = registered


def discover(
    points: Iterable[EntryPoint] | None = None, environment: Mapping[str, str] | None = None
) -> Registry:
    """Load every entry point of the group, our own first, each by itself, then the single files.

    Whatever an installed plugin does wrong while loading becomes a `Problem` under its distribution.
    A file that cannot be loaded is a RecipeError: it was asked for.
    """
    environment = os.environ if environment is None else environment
    registry = Registry()
    found = list(entry_points(group=GROUP) if points is None else points)
    found.sort(key=lambda p: (OWN.index(p.name) if p.name in OWN else len(OWN), p.name))
    unwanted = disabled(environment)
    seen: dict[str, str] = {}
    for point in found:
        if seen.get(point.name) == point.value:
            continue  # the same installation seen twice on the path
        seen[point.name] = point.value
        if normal(point.name) in unwanted or ("all" in unwanted and point.name not in OWN):
            registry.disabled.append(point.name)
            continue
        try:
            registry.admit(announce(point))
        except KeyboardInterrupt:
            raise
        except BaseException as e:  # a plugin may even call sys.exit at import
            registry.problems.append(problem(point, e))
    for name in sorted(unwanted - {normal(p.name) for p in found} - {"all"}):
        hint = nearest(name, [p.name for p in found])
        registry.problems.append(
            Problem(name, f"it is named in {DISABLED}, but not installed.", hint, "note")
        )
    for file in plugin_files(environment):
        if file.name in registry.sources:
            raise RecipeError(f"--plugin {file}: another file is called {file.name}.", "Rename one of them.")
        registry.admit(load_file(file))
    return registry


def load_factory(registered: Registered) -> Callable[..., Any]:
    """Import the callable that builds a component."""
    c = registered.component
    module, _, name = c.factory.partition(":")
    try:
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as e:
        missing = e.name if isinstance(e, ModuleNotFoundError) else None
        if missing is not None and missing.partition(".")[0] != module.partition(".")[0]:
            fix = f"It needs a package that is not installed: pip install {missing.partition('.')[0]}"
        else:
            fix = f"Reinstall it: pip install --force-reinstall {registered.distribution}"
        what = f'{c.kind} "{c.name}" of {registered.distribution} cannot be loaded: {e}.'
        raise ToolkitError(what, fix) from e


def installed() -> Registry:
    """The registry of this environment, discovered once per process and choice of plugins."""
    return _installed(os.environ.get(FILES, ""), os.environ.get(DISABLED, ""))


@functools.cache
def _installed(files: str, without: str) -> Registry:
    return discover(environment={FILES: files, DISABLED: without})
