"""Does every option change something? Other values of each, and what can be observed with them."""

from __future__ import annotations

import hashlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Union

from torch import Tensor, nn

from vaebm_toolkit.errors import RecipeError, ToolkitError
from vaebm_toolkit.options import OptionField, fields, parse
from vaebm_toolkit.testing.claims import Fault, Skip, raised, where
from vaebm_toolkit.testing.subject import Subject, settings

Table = Mapping[str, Any]
Fingerprint = Callable[[Any, Table, Any], Iterator[Any]]
"""(subject, options, place) -> what can be observed there, cheapest first"""
CONTEXTS = 60
"""Settings of other options in which one that seems idle is tried again."""


def alternatives(cls: type, field: OptionField, value: Any) -> list[Any]:
    """Other values of the option that its type and check allow, the likeliest to matter first."""
    found: list[Any] = []
    for candidate in candidates(field.type, value):
        try:
            parsed = getattr(parse(cls, {field.key: candidate}, ""), field.key)
        except RecipeError:
            continue
        if parsed != value and all(parsed != f for f in found):
            found.append(parsed)
    return found


def candidates(t: Any, value: Any) -> Iterable[Any]:
    origin, args = typing.get_origin(t), typing.get_args(t)
    if origin in (Union, types.UnionType):
        inner = next(a for a in args if a is not type(None))
        yield from candidates(inner, value)
        yield None
    elif origin is Literal:
        yield from args
    elif origin is tuple:
        held = value or ()
        for other in candidates(args[0], held[0] if held else None):
            yield (other, *held[1:])
        yield from ((*held, *held[:1]), held[:-1])
    elif t is bool:
        yield not value
    elif t is int:
        v = 1 if value is None else value
        yield from (v + 1, 2 * v, v // 2, v - 1, 0, 1, 2, 3, 10)
    elif t is float:
        v = 0.1 if value is None else value
        yield from (2 * v, v / 2, 0.0, 0.5, 0.01, 1.0, 10 * v, v / 10, 1e-3, 10.0)
    elif t is str:
        yield "nonsense"


class Trace:
    """The digests of a fingerprint, computed as far as they are asked for."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.items, self.done, self.refused = items, False, False
        self.known: list[bytes] = []
        self.error: Exception | None = None

    def at(self, i: int) -> bytes | None:
        """Digest i, or None at the end; a refusal is the end, and so is an error, which is kept."""
        while len(self.known) <= i and not self.done:
            try:
                with settings():
                    self.known.append(digest(next(self.items)))
            except StopIteration:
                self.done = True
            except ToolkitError:
                self.done = self.refused = True
            except Exception as e:
                self.done, self.refused, self.error = True, True, e
        return self.known[i] if i < len(self.known) else None


def digest(value: Any) -> bytes:
    """The same for the same tensors, numbers and texts, however they are nested."""
    h = hashlib.blake2b(digest_size=16)
    if isinstance(value, Tensor):
        v = value.detach().cpu().contiguous()
        h.update(f"{v.dtype}{tuple(v.shape)}".encode())
        h.update(v.numpy().tobytes())
    elif isinstance(value, nn.Module):
        h.update(digest(value.state_dict()))
    elif isinstance(value, Mapping):
        for k, v in value.items():
            h.update(digest(k) + digest(v))
    elif isinstance(value, (list, tuple)):
        for v in value:
            h.update(digest(v))
        h.update(b"end")
    else:
        h.update(f"{type(value).__name__} {value!r}".encode())
    return h.digest()


class Probe:
    """Fingerprints of one part in all its places, remembered by options."""

    def __init__(self, subject: Subject, fingerprint: Fingerprint, places: Iterable[Any]) -> None:
        self.subject, self.fingerprint, self.places = subject, fingerprint, list(places)
        self.traces: dict[str, Trace] = {}

    def trace(self, table: Table, place: Any) -> Trace:
        key = repr((sorted(table.items(), key=lambda item: item[0]), place))
        if key not in self.traces:
            self.traces[key] = Trace(self.fingerprint(self.subject, table, place))
        return self.traces[key]

    def differs(self, base: Table, other: Table, text: bool = False) -> bool:
        """Whether what `other` changes can be seen somewhere.

        That a value is refused shows nothing, except for a text, of which nothing else can be tried; that it
        mends what was refused does.
        """
        for place in self.places:
            a, b = self.trace(base, place), self.trace(other, place)
            i = 0
            while (one := a.at(i)) is not None:
                two = b.at(i)
                if two is None and b.refused:
                    break
                if one != two:
                    return True
                i += 1
            more = b.at(i)
            if a.refused != b.refused:
                if a.refused or text:
                    return True
            elif more is not None:
                return True
        return False


def idle_options(probe: Probe) -> list[tuple[str, list[Any]]]:
    """(option, values tried) of those that change nothing, alone or beside other values of others."""
    s = probe.subject
    cls = s.component.options
    declared = {key: f for key, f in fields(cls).items() if not f.unseen}
    now = {key: getattr(s.options(), key) for key in declared}
    others = {key: alternatives(cls, f, now[key]) for key, f in declared.items()}
    order = list(declared)
    idle = []
    for key, values in others.items():
        text = str in (declared[key].type, *typing.get_args(declared[key].type))
        contexts = [(k, v) for k, few in others.items() if k != key for v in few[:4]]
        # what has a few named values decides what others mean more often than a number does, and its
        # neighbours' most of all
        contexts.sort(
            key=lambda c: (not isinstance(c[1], (bool, str)), abs(order.index(c[0]) - order.index(key)))
        )
        tables = [{}, *({k: v} for k, v in contexts[:CONTEXTS])]
        seen = any(
            probe.differs({**s.table, **context}, {**s.table, **context, key: value}, text)
            for context in tables
            for value in (values[:2] if context else values)
        )
        if not seen:
            idle.append((key, values))
    return idle


def options_change_something(probe: Probe) -> str | None:
    s = probe.subject
    declared = fields(s.component.options)
    if not declared:
        raise Skip("It has no options.")
    for key, values in idle_options(probe):
        tried = ", ".join("none" if v is None else str(v) for v in values) or "no other value is allowed"
        raise Fault(
            f'option "{key}" changes nothing that can be seen (tried {tried})',
            "a result that depends on it",
            "Use it, or remove it. If it acts only where other options are set, let Component(example={…}) "
            "set them; if it changes speed or memory alone, say opt(…, unseen=True).",
        )
    unseen = [key for key, f in declared.items() if f.unseen]
    return f"{len(declared) - len(unseen)} options" + (f"; unseen: {', '.join(unseen)}" if unseen else "")


def allowed_values_work(probe: Probe, limit: int = 2) -> str | None:
    s = probe.subject
    cls = s.component.options
    tried = 0
    for key, f in fields(cls).items():
        if f.unseen:
            continue
        others = alternatives(cls, f, getattr(s.options(), key))
        edges = [v for v in others[limit:] if isinstance(v, (int, float)) and v in (0, 1)]
        for value in [*others[:limit], *edges]:
            trace, i = probe.trace({**s.table, key: value}, probe.places[0]), 0
            while trace.at(i) is not None:
                i += 1
            if trace.error is not None:
                raise Fault(
                    f"{key} = {value}, which its check allows: "
                    f"{raised(trace.error)}{where(trace.error.__traceback__)}",
                    "a part that works, or a ToolkitError when it is built",
                    f'Narrow the check of "{key}", or refuse the value with vaebm_toolkit.RecipeError.',
                )
            tried += 1
    if not tried:
        raise Skip("It has no options.")
    return f"{tried} values"
