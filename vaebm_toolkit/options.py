"""Options, declared once.

    @frozen
    class Options:
        step_size: float = opt(8e-5, "Langevin step η", check=gt(0))

From that one line come the flag `--sampler.step-size`, the TOML key, the row in
`vaebm plugins show` and the text of the error for a wrong value.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Union

import attrs

from vaebm_toolkit.errors import RecipeError, nearest

_OPTION, _SLOT = "vaebm_option", "vaebm_slot"


class Check(NamedTuple):
    """A condition on a value and the words for it, completing "must be …"."""

    words: str
    holds: Callable[[Any], bool]


def gt(bound: float) -> Check:
    """Values above the bound."""
    return Check(f"greater than {bound:g}", lambda v: v > bound)


def ge(bound: float) -> Check:
    """Values from the bound up."""
    return Check(f"at least {bound:g}", lambda v: v >= bound)


def between(low: float, high: float) -> Check:
    """Inclusive at both ends."""
    return Check(f"between {low:g} and {high:g}", lambda v: low <= v <= high)


class OptionInfo(NamedTuple):
    help: str
    unit: str
    check: Check | None
    unseen: bool


class SlotInfo(NamedTuple):
    """A part that another part needs; filled from the recipe's table of that kind."""

    kind: str
    default: str
    help: str
    optional: bool
    when: tuple[str, Any] | None

    def used(self, cls: type, table: Mapping[str, Any]) -> bool:
        """Whether the options `table` of the class ask for this part."""
        if self.when is None:
            return True
        key, value = self.when
        return bool(table.get(key, fields(cls)[key].default) == value)


def opt(default: Any, help: str, *, check: Check | None = None, unit: str = "", unseen: bool = False) -> Any:
    """An option of a component: a field of its attrs class.

    Supported types: bool, int, float, str, Literal[...], tuple[T, ...], and `T | None`,
    where None is spelt "none" in TOML and in flags. `unseen`: it changes speed, memory or files but no
    result, and contract tests leave it alone.
    """
    return attrs.field(default=default, metadata={_OPTION: OptionInfo(help, unit, check, unseen)})


def slot(
    kind: str,
    default: str,
    help: str = "",
    *,
    optional: bool = False,
    when: tuple[str, Any] | None = None,
) -> Any:
    """A part this component works with, by name; `optional` allows "none".

    The recipe's table of that kind chooses it, and the factory receives the built object
    as a keyword argument with the field's name. With `when=(option, value)` the part is used
    only where that option has that value; elsewhere the factory receives None.
    """
    return attrs.field(default=default, metadata={_SLOT: SlotInfo(kind, default, help, optional, when)})


class derived:
    """A quantity that follows from options, shown beside them: a property with words.

    @derived("implied temperature, noise² / step size")
    def temperature(self) -> float: ...
    """

    def __init__(self, words: str) -> None:
        self.words = words

    def __call__(self, function: Callable[[Any], Any]) -> derived:
        self.function = function
        return self

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else self.function(instance)


class OptionField(NamedTuple):
    name: str
    key: str
    type: Any
    default: Any
    help: str
    unit: str
    check: Check | None
    unseen: bool

    @property
    def words(self) -> str:
        return type_words(self.type)


def fields(cls: type | None) -> dict[str, OptionField]:
    """TOML key -> field, in declaration order; slots are not among them."""
    if cls is None:
        return {}
    hints = typing.get_type_hints(cls)
    found = {}
    for a in attrs.fields(cls):
        info: OptionInfo | None = a.metadata.get(_OPTION)
        if info is not None:
            found[a.name] = OptionField(a.name, a.name, hints[a.name], a.default, *info)
    return found


def slots(cls: type | None) -> dict[str, SlotInfo]:
    """Field name -> slot, in declaration order."""
    if cls is None:
        return {}
    return {a.name: a.metadata[_SLOT] for a in attrs.fields(cls) if _SLOT in a.metadata}


def derived_values(options: Any) -> dict[str, tuple[Any, str]]:
    """Name -> (value, words) of every derived quantity of an options object."""
    found = {}
    for name in dir(type(options)):
        d = getattr(type(options), name, None)
        if isinstance(d, derived):
            found[name] = (getattr(options, name), d.words)
    return found


def type_words(t: Any) -> str:
    """The type as a user reads it.

    >>> type_words(float | None), type_words(tuple[int, ...])
    ('number | none', 'list of whole numbers')
    """
    origin, args = typing.get_origin(t), typing.get_args(t)
    if origin is Literal:
        return " | ".join(str(a) for a in args)
    if origin in (Union, types.UnionType):
        return f"{type_words(next(a for a in args if a is not type(None)))} | none"
    if origin is tuple:
        return f"list of {type_words(args[0])}s"
    return {bool: "true | false", int: "whole number", float: "number", str: "text"}[t]


def from_toml(value: Any, t: Any, path: str) -> Any:
    """A TOML value as the type `t`, strictly: no truncation, no truthiness."""
    origin, args = typing.get_origin(t), typing.get_args(t)
    if origin in (Union, types.UnionType):
        if value is None or value == "none":
            return None
        return from_toml(value, next(a for a in args if a is not type(None)), path)
    if origin is Literal:
        if value in args:
            return value
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(from_toml(v, args[0], f"{path}[{i}]") for i, v in enumerate(value))
    elif t is bool:
        if isinstance(value, bool):
            return value
    elif t is int:
        if isinstance(value, int) and not isinstance(value, bool):
            if abs(value) >= 2**63:
                raise RecipeError(f"{path}: {value} is too large for a whole number of 64 bits.")
            return value
    elif t is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise RecipeError(f"{path}: {value} is out of range; it must be a finite number.")
            return float(value)
    elif t is str and isinstance(value, str):
        return str(value)
    raise RecipeError(
        f"{path}: {value!r} is not a {type_words(t)}."
        if origin is not Literal
        else f"{path}: {value!r} is not one of {type_words(t)}."
    )


def from_text(text: str, t: Any, path: str) -> Any:
    """A flag's text as the type `t`: the TOML rules, with numbers and lists spelt plainly."""
    origin, args = typing.get_origin(t), typing.get_args(t)
    value: Any = text
    if origin in (Union, types.UnionType):
        inner = next(a for a in args if a is not type(None))
        return None if text == "none" else from_text(text, inner, path)
    if origin is tuple:
        return tuple(from_text(part.strip(), args[0], path) for part in text.split(",") if part.strip())
    if t is bool:
        value = {"true": True, "yes": True, "false": False, "no": False}.get(text.lower(), text)
    elif t in (int, float):
        try:
            value = t(text)
        except ValueError:
            value = text
    elif origin is Literal:
        value = next((a for a in args if str(a) == text), text)
    return from_toml(value, t, path)


def parse(cls: type | None, table: Mapping[str, Any], path: str) -> Any:
    """An options object from a TOML table; errors name the path and the nearest valid key."""
    known = fields(cls)
    given = {}
    for key, value in table.items():
        if key not in known:
            raise RecipeError(f"{path}.{key}: there is no such option.", nearest(key, list(known)))
        field = known[key]
        given[key] = from_toml(value, field.type, f"{path}.{key}")
        check = field.check
        if check is not None and given[key] is not None:
            values = given[key] if isinstance(given[key], tuple) else (given[key],)
            if not all(check.holds(v) for v in values):
                raise RecipeError(f"{path}.{key}: {value!r} is out of range; it must be {check.words}.")
    return cls(**given) if cls is not None else None


def to_toml(options: Any) -> dict[str, Any]:
    """Every option of the object as TOML values."""
    out = {}
    for key in fields(type(options)) if options is not None else ():
        value = getattr(options, key)
        out[key] = "none" if value is None else list(value) if isinstance(value, tuple) else value
    return out
