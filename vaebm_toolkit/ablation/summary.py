"""What an ablation found: figures over seeds, beside the published ones. Torch-free."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vaebm_toolkit.ablation.tables import MARKS, PUBLISHED, Ablation, Published

NOT_COMPARED = ("mean energy",)
"""Figures of a run that say nothing about its samples."""


class Outcome(NamedTuple):
    """What one row with one seed ended with."""

    row: str
    seed: int
    figures: Mapping[str, float]
    """{} where there are none, for the reason in `trouble`"""
    protocol: Mapping[str, Any]
    seconds: float
    """of training, without the shared generator's"""
    trouble: str | None
    """why a stage ended early, or why there are no figures"""


class Spread(NamedTuple):
    """A figure over seeds."""

    mean: float
    sd: float
    """standard deviation over seeds, with n − 1; nan for one seed"""
    seeds: int

    def __str__(self) -> str:
        """
        >>> str(Spread(0.25341, 0.0124, 3)), str(Spread(44.71, 13.2, 3)), str(Spread(12.0, math.nan, 1))
        ('0.253 ± 0.012', '45 ± 13', '12')
        """
        if math.isnan(self.sd):
            return f"{self.mean:.3g}"
        digits = min(max(1 - math.floor(math.log10(self.sd)), 0), 6) if self.sd > 0 else 3
        return f"{self.mean:.{digits}f} ± {self.sd:.{digits}f}"


class RowSummary(NamedTuple):
    name: str
    title: str
    figures: Mapping[str, Spread]
    behind: Mapping[str, Spread]
    """figure -> this row's minus the reference's, seed by seed"""
    seconds: Spread | None
    """of training, without the shared generator's except in its own row"""
    published: tuple[Published, ...]
    notes: tuple[str, ...]


class Summary(NamedTuple):
    name: str
    reference: str
    metrics: tuple[str, ...]
    rows: tuple[RowSummary, ...]
    protocol: Mapping[str, Any]


def spread(values: Sequence[float]) -> Spread:
    """
    >>> spread([1.0, 3.0])
    Spread(mean=2.0, sd=1.4142135623730951, seeds=2)
    """
    sd = statistics.stdev(values) if len(values) > 1 else math.nan
    return Spread(statistics.fmean(values), sd, len(values))


def summarise(ablation: Ablation, outcomes: Sequence[Outcome]) -> Summary:
    """The table; rows without figures keep their notes."""
    names = {row.name for row in ablation.rows}
    seen = [k for o in outcomes if o.row in names for k in o.figures if k not in NOT_COMPARED]
    metrics = tuple(dict.fromkeys(seen))
    reference = {o.seed: o.figures for o in outcomes if o.row == ablation.reference}
    rows = []
    for row in ablation.rows:
        found = [o for o in outcomes if o.row == row.name]
        figures, behind = {}, {}
        for metric in metrics:
            values = {o.seed: o.figures[metric] for o in found if metric in o.figures}
            if values:
                figures[metric] = spread(list(values.values()))
            pairs = [v - reference[s][metric] for s, v in values.items() if metric in reference.get(s, {})]
            if pairs and row.name != ablation.reference:
                behind[metric] = spread(pairs)
        timed = [o.seconds for o in found if o.seconds > 0]
        time = spread(timed) if timed else None
        notes = tuple(f"seed {o.seed}: {o.trouble}" for o in found if o.trouble)
        published = PUBLISHED.get(row.name, ()) if ablation.published else ()
        rows.append(RowSummary(row.name, row.title, figures, behind, time, published, notes))
    protocol: Mapping[str, Any] = next((o.protocol for o in outcomes if o.protocol), {})
    return Summary(ablation.name, ablation.reference, metrics, tuple(rows), protocol)


def head(summary: Summary) -> list[str]:
    return ["row", *summary.metrics, f"behind {summary.reference}", "training", "published FID, CIFAR-10"]


def cells(summary: Summary) -> list[list[str]]:
    """One line of texts per row, under `head`."""
    lines = []
    for row in summary.rows:
        behind = row.behind.get(summary.metrics[0]) if summary.metrics else None
        lines.append(
            [
                row.title + ("*" if row.notes else ""),
                *(str(row.figures[m]) if m in row.figures else "failed" for m in summary.metrics),
                "" if behind is None else str(behind),
                "" if row.seconds is None else clock(row.seconds.mean),
                ", ".join(f"{p.value:g} [{p.mark}, {p.where}]" for p in row.published),
            ]
        )
    return lines


def clock(seconds: float) -> str:
    """
    >>> clock(42.4), clock(605)
    ('42 s', '10 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def notes(summary: Summary) -> list[str]:
    """What must stand below the table."""
    p = summary.protocol
    seeds = max((s.seeds for row in summary.rows for s in row.figures.values()), default=0)
    features = [f"{m}: " + ", ".join(f"{k} {v}" for k, v in p[m].items()) for m in summary.metrics if m in p]
    evaluated = f"{p.get('samples', 0)} samples, {p.get('device', 'no device')}"
    return [
        f"Mean ± standard deviation over {seeds} seeds." if seeds > 1 else "One seed.",
        "; ".join([evaluated, *features]) + ".",
        f"Behind {summary.reference}: the row's {summary.metrics[0] if summary.metrics else 'figure'} minus "
        f"that of {summary.reference}, seed by seed. Training: a row's own; the generator's is in its row.",
        "Published: FID on CIFAR-10 at full scale (Xiao et al., VAEBM, ICLR 2021), "
        + ", ".join(f"[{m}] {words}" for m, words in MARKS.items())
        + ". Figures of other data, sizes and features compare in their order alone.",
        *(f"* {row.title}, {note}" for row in summary.rows for note in row.notes),
    ]


def markdown(summary: Summary) -> str:
    """The table and its notes as Markdown."""
    columns = head(summary)
    lines = [columns, ["---"] * len(columns), *cells(summary)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\n" + "\n\n".join(n.replace("*", "\\*", 1) for n in notes(summary)) + "\n"


def as_json(summary: Summary, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything, for machines: the rows, and the figures of each seed."""
    return {
        "table": summary.name,
        "reference": summary.reference,
        "protocol": summary.protocol,
        "rows": [
            {
                "name": row.name,
                "title": row.title,
                "figures": {k: plain(v) for k, v in row.figures.items()},
                "behind reference": {k: plain(v) for k, v in row.behind.items()},
                "seconds": None if row.seconds is None else plain(row.seconds),
                "published": [p._asdict() for p in row.published],
                "notes": list(row.notes),
                "seeds": {str(o.seed): dict(o.figures) for o in outcomes if o.row == row.name},
            }
            for row in summary.rows
        ],
    }


def plain(spread: Spread) -> dict[str, Any]:
    return {"mean": spread.mean, "sd": None if math.isnan(spread.sd) else spread.sd, "seeds": spread.seeds}
