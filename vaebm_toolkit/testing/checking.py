"""From a part's name to verdicts: which claims there are about each kind."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from typing import Any

from vaebm_toolkit.errors import RecipeError, nearest
from vaebm_toolkit.hookspecs import KINDS, Component
from vaebm_toolkit.registry import Registered, installed
from vaebm_toolkit.testing import component
from vaebm_toolkit.testing.claims import Claim, Claims, ContractError, Skip, Verdict, judge
from vaebm_toolkit.testing.probing import Probe, allowed_values_work, options_change_something
from vaebm_toolkit.testing.subject import Shape, Subject, settings

Options = Mapping[str, Any] | None


def verdicts(
    registered: Registered, *, shape: Shape | None, options: Options, seed: int, component_only: bool = False
) -> list[Verdict]:
    """All claims in order; where the part's options cannot be read, those of its declaration alone."""
    kind = registered.component.kind
    if component_only or kind == "importer":
        claims, subject = component.CLAIMS, Subject(registered, shape, options, seed)
    else:
        module = importlib.import_module(f"vaebm_toolkit.testing.{kind}")
        subject = module.SUBJECT(registered, shape, options, seed)
        probed = of_options(module) if hasattr(module, "fingerprint") else []
        claims = Claims([*component.CLAIMS, *module.CLAIMS, *probed])
    with settings(seed=seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return judge(claims, subject)


def of_options(module: Any) -> list[Claim]:
    """The claims that need other values of the options, of a kind whose `fingerprint` is known."""
    probes: dict[int, Probe] = {}

    def probe(s: Any) -> Probe:
        if s.component.options is None:
            raise Skip("It has no options.")
        if not module.places(s):
            raise Skip("It refuses all data that were tried.")
        return probes.setdefault(id(s), Probe(s, module.fingerprint, module.places(s)))

    return [
        Claim(
            "options change something",
            "Another value of each option gives another result.",
            lambda s: options_change_something(probe(s)),
        ),
        Claim(
            "allowed values work",
            "Every value that an option's check allows gives a part that works, or a refusal in words.",
            lambda s: allowed_values_work(probe(s)),
        ),
    ]


def check(
    part: str | Component | Registered,
    kind: str | None,
    *,
    shape: Shape | None = None,
    options: Options = None,
    seed: int = 0,
    component_only: bool = False,
) -> None:
    """ContractError unless every claim holds, or where nothing could be measured."""
    registered = found(part, kind)
    judged = verdicts(registered, shape=shape, options=options, seed=seed, component_only=component_only)
    built = [v for v in judged if v.claim == "builds" and v.status == "skipped"]
    if any(v.status == "failed" for v in judged) or built:
        raise ContractError(str(registered), judged)


def found(part: str | Component | Registered, kind: str | None) -> Registered:
    """The registered part that is meant; a name may also be kind/name."""
    if isinstance(part, Component):
        part = Registered(part, "not installed")
    if isinstance(part, Registered):
        if kind is not None and part.component.kind != kind:
            raise RecipeError(f"{part} is not of the kind {kind}.", f"Use check_{part.component.kind}.")
        return part
    given, _, name = part.rpartition("/")
    kinds = [k for k in KINDS if k in (kind or given or k)]
    registry = installed()
    both = {**registry.shadowed, **registry.parts}
    matching = [both[k, name] for k in kinds if (k, name) in both]
    if not matching:
        known = sorted({n for k, n in registry.parts if k in kinds})
        raise RecipeError(
            f'There is no {kind or "part"} called "{name}".',
            f"{nearest(name, known)} Install its package: pip install -e .{registry.absent()}",
        )
    if len(matching) > 1:
        raise RecipeError(
            f'"{name}" is the name of several parts.', f"Say which: {matching[0].component.kind}/{name}"
        )
    return matching[0]
