"""Geometry of curves and histograms; the page's templates draw them as SVG in its own colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

POINTS = 300  # per curve: more are not seen at this size


class Frame(NamedTuple):
    """What a chart shows, in data units (log10 of y on a logarithmic axis), and its size in pixels."""

    low: float
    high: float
    bottom: float
    top: float
    width: int = 300
    height: int = 184

    @property
    def box(self) -> tuple[int, int, int, int]:
        """left, right, top, bottom of the lines, in pixels; labels stand outside"""
        return 46, self.width - 8, 10, self.height - 30

    def x(self, value: float) -> float:
        left, right, _, _ = self.box
        return round(left + (value - self.low) / (self.high - self.low) * (right - left), 1)

    def y(self, value: float) -> float:
        _, _, top, bottom = self.box
        return round(bottom - (value - self.bottom) / (self.top - self.bottom) * (bottom - top), 1)


class Tick(NamedTuple):
    at: float
    label: str


class Line(NamedTuple):
    name: str
    path: str
    """an SVG path"""
    values: str
    """"x,y x,y …" in data units, for reading values off"""
    last: str


class Chart(NamedTuple):
    title: str
    what: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_label: str
    filled: bool
    log: bool
    frame: Frame

    @property
    def summary(self) -> str:
        """What the picture shows, for those who do not see it."""
        ends = "; ".join(f"{line.name}: {line.last}" for line in self.lines)
        return f"{self.title}, {self.x_label}. {ends}"


def short(value: float) -> str:
    """A number as it stands beside an axis or in a table.

    >>> short(-1234567), short(0.00012), short(12.0), short(-3.25)
    ('−1.235e+06', '0.00012', '12', '−3.25')
    """
    return f"{value:.4g}".replace("-", "−").replace("e−0", "e−").replace("e+0", "e+0")


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values within [low, high]: steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0, 10), ticks(-1.2, 0.9, 4)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [-1.0, -0.5, 0.0, 0.5])
    """
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= 0.7 * rough)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]


def curves(title: str, what: str, lines: Mapping[str, Sequence[tuple[float, float | None]]]) -> Chart:
    """Lines over training steps. A logarithmic axis where positive values span three powers of ten."""
    values = [y for points in lines.values() for _, y in points if y is not None]
    log = min(values) > 0 and max(values) / min(values) >= 1000
    scale = math.log10 if log else float
    xs = [x for points in lines.values() for x, _ in points]
    bottom, top = padded(scale(min(values)), scale(max(values)))
    f = Frame(min(0.0, *xs), max(*xs, 1.0), bottom, top)
    if log:
        y_ticks = [Tick(f.y(k), power(k)) for k in whole(bottom, top)]
    else:
        y_ticks = [Tick(f.y(v), short(v)) for v in ticks(bottom, top, 4)]
    x_ticks = [Tick(f.x(v), count_label(v)) for v in ticks(f.low, f.high, 4)]
    drawn = []
    for name, points in lines.items():
        kept = thinned(points)
        shown = [(f.x(x), None if y is None else f.y(scale(y))) for x, y in kept]
        finite = [(x, y) for x, y in kept if y is not None]
        text = " ".join(f"{x:g},{y:.5g}" for x, y in finite)
        drawn.append(Line(name, path(shown), text, short(finite[-1][1]) if finite else "no finite value"))
    return Chart(title, what, drawn, x_ticks, y_ticks, "step", False, log, f)


def histogram(title: str, what: str, values: Mapping[str, Sequence[float]], x_label: str) -> Chart:
    """Outlines of shares on common bins, which hold the bulk of every set; what lies outside is in the
    outermost ones.
    """
    finite = {k: sorted(v for v in vs if math.isfinite(v)) for k, vs in values.items()}
    finite = {k: vs for k, vs in finite.items() if vs}
    bins = min(48, max(12, round(2 * min(map(len, finite.values())) ** 0.5)))
    ranges = [bulk(vs) for vs in finite.values()]
    low, high = padded(min(r[0] for r in ranges), max(r[1] for r in ranges), 0.02)
    shares = {}
    for name, vs in finite.items():
        counts = [0] * bins
        for v in vs:
            counts[min(max(int((v - low) / (high - low) * bins), 0), bins - 1)] += 1
        shares[name] = [c / len(vs) for c in counts]
    f = Frame(low, high, 0.0, 1.06 * max(max(s) for s in shares.values()), 600, 280)
    edges = [low + (high - low) * k / bins for k in range(bins + 1)]
    drawn = []
    for name, share in shares.items():
        outline: list[tuple[float, float | None]] = [(f.x(low), f.y(0))]
        for k, s in enumerate(share):
            outline += [(f.x(edge), f.y(s)) for edge in edges[k : k + 2]]
        outline.append((f.x(high), f.y(0)))
        vs = finite[name]
        text = " ".join(f"{(edges[k] + edges[k + 1]) / 2:.5g},{s:.4g}" for k, s in enumerate(share))
        drawn.append(Line(name, path(outline), text, f"{len(vs):,}, mean {short(sum(vs) / len(vs))}"))
    x_ticks = [Tick(f.x(v), short(v)) for v in ticks(low, high, 6)]
    y_ticks = [Tick(f.y(v), f"{100 * v:g} %") for v in ticks(0, f.top, 4)]
    return Chart(title, what, drawn, x_ticks, y_ticks, x_label, True, False, f)


def bulk(values: Sequence[float]) -> tuple[float, float]:
    """The middle 99 % of sorted values, within three interquartile ranges of their quartiles.

    >>> bulk([0.0, 1.0, 2.0, 3.0, 1000.0])
    (0.0, 9.0)
    """

    def quantile(q: float) -> float:
        return values[round(q * (len(values) - 1))]

    lower, upper = quantile(0.25), quantile(0.75)
    reach = 3 * (upper - lower)
    return max(quantile(0.005), lower - reach), min(quantile(0.995), upper + reach)


def padded(low: float, high: float, share: float = 0.06) -> tuple[float, float]:
    """The range and a little around it; never empty."""
    margin = (high - low) * share or abs(low) * 0.1 or 1.0
    return low - margin, high + margin


def path(points: Sequence[tuple[float, float | None]]) -> str:
    """An SVG path with a gap where y is None."""
    words, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
        else:
            words.append(f"{pen}{x:g} {y:g}")
            pen = "L"
    return "".join(words)


def thinned(points: Sequence[tuple[float, float | None]]) -> Sequence[tuple[float, float | None]]:
    """At most about POINTS of them: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= POINTS:
        return points
    size, kept = math.ceil(2 * len(points) / POINTS), []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        finite = [p for p in part if p[1] is not None]
        found = {min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])} if finite else set()
        kept += sorted(found | {p for p in part if p[1] is None}, key=lambda p: p[0])
    return kept


def whole(low: float, high: float) -> list[int]:
    """At most six whole numbers within a range."""
    first, last = math.ceil(low), math.floor(high)
    return list(range(first, last + 1, max(1, (last - first) // 5)))


def power(k: int) -> str:
    """10 to the k, as it stands beside an axis."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return f"{10.0**k:g}" if -3 <= k <= 4 else "10" + str(k).translate(raised)


def count_label(value: float) -> str:
    """A number of steps: 1,200, or 45k."""
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:,g}"
