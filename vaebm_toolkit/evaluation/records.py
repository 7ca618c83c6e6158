"""Figures with the protocol that they were measured by, and the file that keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen

from vaebm_toolkit.core import Figure
from vaebm_toolkit.training.files import write_json
from vaebm_toolkit.training.rundir import read_json

FILE = "evaluation.json"
WITHOUT_EFFECT = ("device", "versions", "found")
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
    """Of what a metric returned."""
    intervals = {k: (v.low, v.high) for k, v in found.items() if isinstance(v, Figure) and v.low is not None}
    return Record(model, metric, features, {k: float(v) for k, v in found.items()}, intervals, dict(protocol))


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


def keep(folder: Path, fresh: Iterable[Record]) -> None:
    """Add records to those of a run; one that was measured in the same way is replaced."""
    held = {identity(r): r for r in read(folder)}
    held.update({identity(r): r for r in fresh})
    write_json(folder / FILE, [asdict(r) for r in held.values()])


def read(folder: Path) -> list[Record]:
    """The records of a run; none where nothing was evaluated."""
    file = folder / FILE
    return [Record(**r) for r in read_json(file)] if file.is_file() else []


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


def common(protocols: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of them say."""
    first, *others = protocols or [{}]
    return {k: v for k, v in first.items() if all(k in p and p[k] == v for p in others)}
