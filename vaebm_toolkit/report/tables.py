"""Figures as tables that say by which protocol they were measured, and when they do not compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.evaluation import records
from vaebm_toolkit.evaluation.records import Record
from vaebm_toolkit.registry import Registry
from vaebm_toolkit.report.charts import short
from vaebm_toolkit.report.reading import RunFacts


class Cell(NamedTuple):
    value: str
    interval: str


class Row(NamedTuple):
    label: str
    cells: list[Cell | None]


class Table(NamedTuple):
    """Figures that compare. The longer of figures and models goes down the page, which is narrow."""

    told: str
    """what sets them apart from those of the metric's other tables; "" where there is one table"""
    head: list[str]
    rows: list[Row]


class Metric(NamedTuple):
    """One metric of one or more models."""

    title: str
    summary: str
    tables: list[Table]
    protocol: list[tuple[str, str]]
    """what all of them have in common"""
    differences: list[str]
    """in what its tables differ, and why their figures do not compare"""
    further: list[tuple[str, list[tuple[str, str]]]]
    """key, and what stands there of which models: of what has no effect on a figure, and of what models
    differ in by nature"""
    reading: list[tuple[str, str]]
    """model and figure, and what it is not good for"""


def metrics(found: Sequence[tuple[str, Record]], registry: Registry) -> list[Metric]:
    """Records with the labels of their rows, one metric for each feature space."""
    groups: dict[tuple[str, str], list[tuple[str, Record]]] = {}
    for name, r in found:
        groups.setdefault((r.metric, r.features), []).append((name, r))
    return [of_metric(metric, features, rows, registry) for (metric, features), rows in groups.items()]


def of_metric(metric: str, features: str, rows: Sequence[tuple[str, Record]], registry: Registry) -> Metric:
    found = [r for _, r in rows]
    names = {id(r): name for name, r in rows}
    different, groups = list(records.differences(found)), records.alike(found)
    protocol, further = [], []
    for key in dict.fromkeys(k for r in found for k in r.protocol if k not in (*different, "found")):
        values = [r.protocol.get(key) for r in found]
        if all(v == values[0] for v in values):
            protocol.append((key, words(values[0])))
            continue
        told: dict[str, list[str]] = {}
        for name, v in ((name, v) for (name, _), v in zip(rows, values, strict=True) if v is not None):
            told.setdefault(words(v), []).append(name)
        further.append((key, [(", ".join(dict.fromkeys(of)), value) for value, of in told.items()]))
    shown = [table([(names[id(r)], r) for r in g], set_apart(g, found, different)) for g in groups]
    readings = dict.fromkeys(
        (f"{name}, {figure}", why) for name, r in rows for figure, why in r.reading.items()
    )
    title = metric + (f", {features}" if features else "")
    return Metric(title, summary(metric, registry), shown, protocol, different, further, list(readings))


def table(rows: Sequence[tuple[str, Record]], told: str = "") -> Table:
    figures = list(dict.fromkeys(records.label(n, r) for _, r in rows for n in r.figures))
    models = [
        (name, {records.label(n, r): cell(v, r.intervals.get(n)) for n, v in r.figures.items()})
        for name, r in rows
    ]
    if len(figures) > len(models):
        head = ["Figure", *(name for name, _ in models)]
        return Table(told, head, [Row(f, [cells.get(f) for _, cells in models]) for f in figures])
    return Table(told, ["Model", *figures], [Row(name, [c.get(f) for f in figures]) for name, c in models])


def set_apart(group: Sequence[Record], found: Sequence[Record], different: Sequence[str]) -> str:
    """What a group of records has where they differ from others: of several settings, those that do."""
    said = {}
    for key in different:
        values = [r.protocol[key] for r in found if r.protocol.get(key) is not None]
        own = next((r.protocol[key] for r in group if r.protocol.get(key) is not None), None)
        if own is not None and all(isinstance(v, Mapping) for v in values):
            own = {k: v for k, v in own.items() if any(other.get(k) != v for other in values)}
        elif own is None and key in records.BY_NATURE:
            continue
        said[key] = "the run's own" if own is None and key == "data" else own
    return words(said)


def summary(metric: str, registry: Registry) -> str:
    try:
        return registry.find("metric", metric).component.summary
    except ToolkitError:
        return ""


def cell(value: float, interval: Sequence[float | None] | None) -> Cell:
    low, high = interval if interval is not None else (None, None)
    ends = ["" if v is None else short(v) for v in (low, high)]
    return Cell(short(value), f"{ends[0]} to {ends[1]}" if low is not None and high is not None else "")


def words(value: Any) -> str:
    """A protocol's value as it is read."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {words(v)}" if k != "name" else words(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value))
    if value is None:
        return "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return short(value) if isinstance(value, float) else str(value)


def recipe_differences(runs: Sequence[RunFacts]) -> list[tuple[str, list[str]]]:
    """Options in which the runs' recipes differ, and the value in each."""
    tables = [r.tables for r in runs]
    found = []
    for name in dict.fromkeys(t for each in tables for t in each):
        for key in dict.fromkeys(k for each in tables for k in each.get(name, {})):
            values = [each.get(name, {}).get(key, "") for each in tables]
            if any(v != values[0] for v in values):
                found.append((f"{name}.{key}", [words(v) for v in values]))
    return found


def duration(seconds: float) -> str:
    """As people say it.

    >>> duration(42.3), duration(217), duration(7500), duration(0)
    ('42 s', '3 min 37 s', '2 h 5 min', 'none')
    """
    whole = round(seconds)
    if whole == 0:
        return "none" if seconds == 0 else "under 1 s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
