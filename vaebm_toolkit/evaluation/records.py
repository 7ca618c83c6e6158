"""Figures with the protocol that they were measured by, and the file that keeps them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, field, frozen

from vaebm_toolkit.core import Figure
from vaebm_toolkit.errors import RunError, ToolkitError, quoted
from vaebm_toolkit.training.files import write_json
from vaebm_toolkit.training.rundir import read_json

FILE = "evaluation.json"
WITHOUT_EFFECT = ("device", "versions", "found", "spread")
"""What a protocol says that is not a reason for two figures not to compare."""
BY_NATURE = ("sampler", "log Z")
"""What the models of one run differ in without a chain, and with one; that is what is compared."""
NO_REASON = ("seed",)
"""Runs that differ in it alone are what a spread is measured with: they compare."""
USUAL_MODE = "legacy_tensorflow"
"""How published figures resize images for Inception."""


@frozen
class Record:
    """The figures of one metric, in one feature space where it has one, of one model."""

    model: str
    metric: str
    features: str
    """"" for a metric that compares no features"""
    figures: Mapping[str, float]
    intervals: Mapping[str, tuple[float | None, float | None]]
    """figure -> its 95 % interval, of those that have one"""
    protocol: Mapping[str, Any]
    pictures: Mapping[str, str] = field(factory=dict)
    """what to look at beside them -> a PNG, relative to the run"""

    @property
    def suffix(self) -> str:
        """What tells its figures apart from those in the usual space, pixels."""
        return "" if self.features in ("", "pixels") else f"-{self.features}"

    def conditions(self) -> dict[str, Any]:
        """The protocol without what has no effect on the figures."""
        return {k: v for k, v in self.protocol.items() if k not in WITHOUT_EFFECT}

    @property
    def reading(self) -> dict[str, str]:
        """Figure -> what it is not good for, as the metric found."""
        return dict(self.protocol.get("found", {}).get("reading", {}))


def record(
    model: str, metric: str, features: str, found: Mapping[str, float], protocol: Mapping[str, Any]
) -> Record:
    """Of what a metric returned; a figure that is not finite is none, and said to be left out."""
    figures = {k: float(v) for k, v in found.items() if math.isfinite(v)}
    ends = {k: (v.low, v.high) for k, v in found.items() if isinstance(v, Figure)}
    told = dict(protocol)
    if lost := {k: f"left out: it is {float(v)}" for k, v in found.items() if k not in figures}:
        seen = dict(told.get("found", {}))
        told["found"] = {**seen, "reading": {**seen.get("reading", {}), **lost}}
    return Record(model, metric, features, figures, finite({k: ends[k] for k in figures if k in ends}), told)


def finite(intervals: Mapping[str, Sequence[float | None]]) -> dict[str, tuple[float | None, float | None]]:
    """Those of which both ends are numbers."""
    ends = {k: (low, high) for k, (low, high) in intervals.items()}
    return {k: v for k, v in ends.items() if all(e is not None and math.isfinite(e) for e in v)}


def label(name: str, r: Record) -> str:
    """A figure's name in tables. "FID", "KID" and "IS" are for Inception features alone.

    Published ones are of 50,000 samples against the training split, images resized as TensorFlow did; what
    differs stands in the name: "FID clean (1,000 samples, test split)".
    """
    short = (
        {"frechet": "FID", "kernel": "KID", "score": "IS"}.get(name) if r.features == "inception" else None
    )
    if short is None:
        return name + r.suffix
    p = r.protocol
    mode = str(p.get("mode", USUAL_MODE))
    short += f" {mode}" if mode != USUAL_MODE else ""
    unusual = [f"{p['samples']:,} samples"] if p.get("samples") != 50_000 else []
    compared = name != "score"  # which is of the samples alone
    unusual += [f"{p['split']} split"] if compared and p.get("split", "train") != "train" else []
    return f"{short} ({', '.join(unusual)})" if unusual else short


def keep(folder: Path, fresh: Iterable[Record]) -> Path | None:
    """Add records to those of a run; one that was measured in the same way is replaced.

    A file that cannot be read is set aside, and its new place returned.
    """
    aside = None
    try:
        before = read(folder)
    except RunError:
        before, aside = [], set_aside(folder / FILE)
    held = {identity(r): r for r in (*before, *fresh)}
    write(folder / FILE, list(held.values()))
    return aside


def write(file: Path, found: Sequence[Record]) -> None:
    """As JSON, in which what is not a number is null."""
    write_json(file, [without_nan(asdict(r)) for r in found])


def without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def set_aside(file: Path) -> Path:
    """Rename a damaged file to a name that is not taken."""
    names = (file.with_suffix(f".damaged{n or ''}.json") for n in itertools.count())
    free = next(name for name in names if not name.exists())
    return file.rename(free)


def read(folder: Path) -> list[Record]:
    """The records of a run; none where nothing was evaluated."""
    file = folder / FILE
    if not file.is_file():
        return []
    try:
        held = read_json(file)
        found = [Record(**r) for r in (held if isinstance(held, list) else [held])]
        return [evolve(r, intervals=finite(r.intervals)) for r in found]
    except (ToolkitError, TypeError, ValueError, AttributeError) as e:
        why = e.message if isinstance(e, ToolkitError) else f"{file} holds no list of records: {e}."
        aside = file.with_suffix(".damaged.json")
        raise RunError(why, f"Set it aside: mv {quoted(file)} {quoted(aside)}") from e


def identity(r: Record) -> tuple[Any, ...]:
    import json

    return r.model, r.metric, r.features, json.dumps(r.conditions(), sort_keys=True, default=str)


def differences(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Protocol keys in which records differ, and what they say: why their figures do not compare.

    Seeds are no reason, and neither is a model without what another one has: its chains, above all.
    """
    keys = dict.fromkeys(k for r in records for k in r.conditions() if k not in NO_REASON)
    found = {k: [r.protocol[k] for r in records if r.protocol.get(k) is not None] for k in keys}
    alone = {k for k in keys if k not in BY_NATURE and len(found[k]) < len(records)}
    return {k: values for k, values in found.items() if k in alone or any(v != values[0] for v in values)}


def alike(found: Sequence[Record]) -> list[list[Record]]:
    """Records in groups whose figures compare."""
    groups: list[list[Record]] = []
    for r in found:
        fitting = (group for group in groups if not differences([*group, r]))
        if (group := next(fitting, None)) is not None:
            group.append(r)
        else:
            groups.append([r])
    return groups


def common(protocols: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of them say."""
    first, *others = protocols or [{}]
    return {k: v for k, v in first.items() if all(k in p and p[k] == v for p in others)}
