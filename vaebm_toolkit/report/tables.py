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


class Metric(NamedTuple):
    """One metric of one or more models."""

    title: str
    summary: str
    columns: list[str]
    rows: list[Row]
    protocol: list[tuple[str, str]]
    """what all rows have in common"""
    differences: list[tuple[str, list[tuple[str, str]]]]
    """key, and what each row has: why its figures do not compare"""
    further: list[tuple[str, list[tuple[str, str]]]]
    """the same of what has no effect on a figure, and of what models differ in by nature"""


def metrics(found: Sequence[tuple[str, Record]], registry: Registry) -> list[Metric]:
    """Records with the labels of their rows, one table for each metric and feature space."""
    groups: dict[tuple[str, str], list[tuple[str, Record]]] = {}
    for name, r in found:
        groups.setdefault((r.metric, r.features), []).append((name, r))
    return [table(metric, features, rows, registry) for (metric, features), rows in groups.items()]


def table(metric: str, features: str, rows: Sequence[tuple[str, Record]], registry: Registry) -> Metric:
    columns = list(dict.fromkeys(records.label(n, r) for _, r in rows for n in r.figures))
    labelled = []
    for name, r in rows:
        cells = {records.label(n, r): cell(v, r.intervals.get(n)) for n, v in r.figures.items()}
        labelled.append(Row(name, [cells.get(c) for c in columns]))
    keys = dict.fromkeys(k for _, r in rows for k in r.protocol if k != "found")
    different = records.differences([r for _, r in rows])
    serious, further, common = [], [], []
    for key in keys:
        values = [r.protocol.get(key) for _, r in rows]
        told = [(name, words(v)) for (name, _), v in zip(rows, values, strict=True)]
        if all(v == values[0] for v in values):
            common.append((key, words(values[0])))
        elif key in different:
            serious.append((key, told))
        else:
            further.append((key, told))
    if readings := [(name, words(r.reading)) for name, r in rows if r.reading]:
        further.append(("how to read it", readings))
    title = metric + (f", {features}" if features else "")
    return Metric(title, summary(metric, registry), columns, labelled, common, serious, further)


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
