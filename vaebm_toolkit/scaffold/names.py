"""Which names a new plugin can have."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution

from attrs import frozen

from vaebm_toolkit.discovery import normal
from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.recipe import ABSENT
from vaebm_toolkit.registry import OWN, Registry

PREFIX = "vaebm-"
LONGEST = 40
TYPEABLE = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")


@frozen
class Called:
    """What users type for a part."""

    use: str
    """its name, or distribution:name where another has that"""
    checked: str
    """for `vaebm plugins check`: kind/name where parts of two kinds share one"""
    warning: str = ""


def distribution_of(name: str) -> str:
    """
    >>> distribution_of("soft_walls")
    'vaebm-soft-walls'
    """
    return PREFIX + normal(name)


def module_of(name: str) -> str:
    """
    >>> module_of("soft-walls")
    'vaebm_soft_walls'
    """
    return distribution_of(name).replace("-", "_")


def check_name(name: str) -> None:
    """RecipeError where a part cannot be called `name`."""
    if name.startswith((PREFIX, "vaebm_")):
        bare = name[len(PREFIX) :]
        raise RecipeError(
            f'"{name}": the package is called vaebm-NAME by itself.', f"Leave that out: {bare or 'NAME'}"
        )
    if len(name) > LONGEST:
        raise RecipeError(f"A name has at most {LONGEST} letters; this one has {len(name)}.", "Shorten it.")
    if not TYPEABLE.fullmatch(name):
        words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        raise RecipeError(
            f'"{name}" is not a name for a part: small letters, digits and single hyphens.',
            f"For example: {words or 'walls'}",
        )
    if name == ABSENT:
        raise RecipeError(f'"{name}" means no part, as in --buffer {ABSENT}.', "Choose another name.")


def check_package_name(name: str) -> None:
    """RecipeError where the package of a part called `name` would take the place of another."""
    package = distribution_of(name)
    if package in OWN:
        raise RecipeError(
            f"Its package would be {package}, which is part of this toolkit.",
            f"Choose another name: my-{name}",
        )
    if is_installed(package) or origin(module_of(name)):
        raise RecipeError(
            f"Its package would be {package}, which is installed already.",
            f"Choose another name, or remove that one: pip uninstall {package}",
        )


def check_file_name(name: str) -> None:
    """RecipeError where a file NAME.py would be imported in place of another module of that name."""
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or origin(name):
        raise RecipeError(
            f"A file {name}.py would be in the way of Python's own or an installed {name}.",
            f"Choose another name: my-{name}",
        )


def is_installed(package: str) -> bool:
    try:
        return bool(distribution(package))
    except PackageNotFoundError:
        return False


def origin(module: str) -> str | None:
    """The file of a module that can be imported; None if there is none."""
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    return None if spec is None else spec.origin


def called(registry: Registry, kind: str, name: str, source: str) -> Called:
    """How a new part of `source` is named on the command line."""
    holder = registry.parts.get((kind, name))
    if holder is not None:
        full = f"{source}:{name}"
        return Called(full, full, f'{holder} keeps the name "{name}"; the new one is used as {full}.')
    elsewhere = any(n == name for _, n in registry.parts)
    return Called(name, f"{kind}/{name}" if elsewhere else name)
