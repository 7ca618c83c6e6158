"""Which parts exist. A broken plugin is reported here and never stops anything else."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs
import pluggy

from vaebm_toolkit import hookspecs
from vaebm_toolkit.errors import RecipeError, ToolkitError, nearest
from vaebm_toolkit.hookspecs import GROUP, KINDS, Component

OWN = ("vaebm-toolkit", "vaebm-nvae", "vaebm-igebm", "vaebm-langevin", "vaebm-mcmc", "vaebm-replay")
"""Distributions of this project; discovered first, so that no stranger takes their names."""


@attrs.frozen
class Registered:
    """A component and the distribution it came from."""

    component: Component
    distribution: str
    version: str = ""


@attrs.frozen
class Problem:
    """A plugin, or one of its parts, that cannot be used; `fix` is what to do about it."""

    distribution: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"plugin {self.distribution}: {self.message} {self.fix}"


@attrs.define
class Registry:
    """All components by kind and name, the hooks of healthy plugins, and the problems."""

    parts: dict[tuple[str, str], Registered] = attrs.field(factory=dict)
    shadowed: dict[tuple[str, str], Registered] = attrs.field(factory=dict)
    problems: list[Problem] = attrs.field(factory=list)
    hooks: pluggy.PluginManager = attrs.field(factory=lambda: manager())

    def find(self, kind: str, name: str) -> Registered:
        """The part users mean by `name`, or by `distribution:name`."""
        found = self.parts.get((kind, name)) or self.shadowed.get((kind, name))
        if found is None:
            raise RecipeError(
                f'There is no {kind} called "{name}".',
                f"{nearest(name, self.names(kind))} List them: vaebm plugins list {kind}",
            )
        return found

    def names(self, kind: str) -> list[str]:
        return [n for k, n in self.parts if k == kind]

    def of_kind(self, kind: str) -> list[Registered]:
        return [r for (k, _), r in self.parts.items() if k == kind]

    def add(self, registered: Registered) -> None:
        """Add a part; a second one of the same name stays reachable as `distribution:name`."""
        c = registered.component
        key = (c.kind, c.name)
        self.shadowed[c.kind, f"{registered.distribution}:{c.name}"] = registered
        if key in self.parts:
            holder = self.parts[key].distribution
            full = f"{registered.distribution}:{c.name}"
            use = f"vaebm import {full}" if c.kind == "importer" else f"--{c.kind} {full}"
            self.problems.append(
                Problem(
                    registered.distribution,
                    f'its {c.kind} "{c.name}" has a name that {holder} already uses.',
                    f"Use it as {use}",
                )
            )
        else:
            self.parts[key] = registered


def manager() -> pluggy.PluginManager:
    pm = pluggy.PluginManager(GROUP)
    pm.add_hookspecs(hookspecs)
    return pm


def discover(points: Iterable[EntryPoint] | None = None) -> Registry:
    """Load every entry point of the group, our own first, each by itself.

    Whatever a plugin does wrong while loading becomes a `Problem` under its distribution.
    """
    registry = Registry()
    found = list(entry_points(group=GROUP) if points is None else points)
    found.sort(key=lambda p: (OWN.index(p.name) if p.name in OWN else len(OWN), p.name))
    seen: dict[str, str] = {}
    for point in found:
        if seen.get(point.name) == point.value:
            continue  # the same installation seen twice on the path
        seen[point.name] = point.value
        try:
            for registered in announce(point, registry.hooks):
                registry.add(registered)
        except KeyboardInterrupt:
            raise
        except BaseException as e:  # a plugin may even call sys.exit at import
            registry.problems.append(problem(point.name, e))
    return registry


def announce(point: EntryPoint, hooks: pluggy.PluginManager) -> list[Registered]:
    """Import one plugin, check its hooks and parts alone, then let its hooks in."""
    module = point.load()
    alone = manager()
    alone.register(module, name=point.name)
    check_hook_names(module, point.name)
    alone.check_pending()
    version = point.dist.version if point.dist is not None else ""
    registered = []
    for components in alone.hook.vaebm_components():
        for c in components:
            check_component(c)
            registered.append(Registered(c, point.name, version))
    hooks.register(module, name=point.name)
    return registered


def check_hook_names(module: Any, name: str) -> None:
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


def problem(distribution: str, error: BaseException) -> Problem:
    remove = f"Mend it, or remove it: pip uninstall {distribution}"
    if isinstance(error, ToolkitError):
        return Problem(distribution, error.message, error.fix or remove)
    kind = type(error).__name__
    return Problem(distribution, f"it fails to load: {kind}: {error}.", remove)


def load_factory(registered: Registered) -> Callable[..., Any]:
    """Import the callable that builds a component."""
    c = registered.component
    module, _, name = c.factory.partition(":")
    try:
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as e:
        raise ToolkitError(
            f'{c.kind} "{c.name}" of {registered.distribution} cannot be loaded: {e}.',
            f"Reinstall it: pip install --force-reinstall {registered.distribution}",
        ) from e


@functools.cache
def installed() -> Registry:
    """The registry of this environment, discovered once per process."""
    return discover()
