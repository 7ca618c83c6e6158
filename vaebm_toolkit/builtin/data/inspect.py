"""Look at a data set before anything trains on it: numbers, warnings, a picture."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from attrs import frozen
from torch import Tensor

from vaebm_toolkit.core import Dataset, Split, stream
from vaebm_toolkit.errors import DataError

USUAL_BATCH = 128
BATCH = 512


@frozen
class SplitReport:
    """What one split holds. Examples are named by file where there are files, else by index."""

    name: str
    count: int
    low: float
    high: float
    mean: tuple[float, ...]  # per channel
    classes: tuple[int, ...]  # examples of each label; () without labels
    constant: tuple[str, ...]
    copies: tuple[tuple[str, str], ...]  # (example, earlier one that it equals)
    not_finite: tuple[str, ...]
    grey: bool  # three channels, always equal


@frozen
class Report:
    shape: tuple[int, ...]
    splits: tuple[SplitReport, ...]
    shared: tuple[tuple[str, str], ...]  # (test example, training example that it equals)
    class_names: tuple[str, ...]
    warnings: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The report as text."""
        yield f"shape   {' × '.join(map(str, self.shape))}"
        for s in self.splits:
            mean = ", ".join(f"{m:.4f}" for m in s.mean)
            yield f"{s.name:<7} {s.count:,} examples, values {s.low:g} to {s.high:g}, mean {mean}"
        counts = [s.classes for s in self.splits]
        if any(counts):
            names = self.class_names
            yield f"classes {len(names)} (examples in {' / '.join(s.name for s in self.splits)})"
            for i, name in enumerate(names[:20]):
                yield f"        {name}: {' / '.join(f'{c[i]:,}' if i < len(c) else '-' for c in counts)}"
            if len(names) > 20:
                rest = counts[0][20:]
                more = f" with {min(rest):,} to {max(rest):,} each in training" if rest else ""
                yield f"        and {len(names) - 20} more{more}"
        yield from (f"warning: {w}" for w in self.warnings)


def check(dataset: Dataset) -> Report:
    """Read every example once. Files that cannot be decoded end it (`scan.BadFiles`)."""
    classes = _class_count(dataset)
    hashes: list[dict[bytes, str]] = [{}, {}]
    train = _look("train", dataset.train, classes, hashes[0])
    test = _look("test", dataset.test, classes, hashes[1])
    shared = tuple((hashes[1][key], hashes[0][key]) for key in hashes[1] if key in hashes[0])
    named = tuple(getattr(dataset, "classes", ())) or tuple(str(i) for i in range(classes))
    warnings = tuple(_warnings((train, test), shared, named, dataset.bounds))
    return Report(tuple(dataset.shape), (train, test), shared, named, warnings)


def preview(dataset: Dataset, path: str | Path, n: int = 64) -> Path:
    """A PNG of n training images, drawn by a fixed stream; for points in the plane, of both splits."""
    from vaebm_toolkit.report.pictures import grid, save_png, scatter

    if len(dataset.shape) == 3:
        count = len(dataset.train)
        rows = torch.randperm(count, generator=stream(0, "preview"))[:n].sort().values
        return save_png(grid(dataset.train.batch(rows)), path)
    if dataset.shape == (2,):
        splits = {"train": dataset.train, "test": dataset.test}
        return save_png(scatter({k: s.batch(torch.arange(len(s))) for k, s in splits.items()}), path)
    raise DataError(
        f"Examples of shape {dataset.shape} have no picture; images and points in the plane do.",
        "Use vaebm data check for numbers.",
    )


def _look(name: str, split: Split, classes: int, hashes: dict[bytes, str]) -> SplitReport:
    names = getattr(split, "names", ())
    low, high, grey = float("inf"), -float("inf"), True
    total: Tensor | float = 0.0
    constant, copies, broken = [], [], []
    for start in range(0, len(split), BATCH):
        x = split.batch(torch.arange(start, min(start + BATCH, len(split))))
        flat = x.flatten(1)
        low, high = min(low, flat.min().item()), max(high, flat.max().item())
        total = total + (x.double().mean(dim=(2, 3)) if x.ndim == 4 else x.double()).sum(0)
        grey = grey and x.ndim == 4 and x.shape[1] == 3 and bool((x == x[:, :1]).all())
        for i, (row, flat_one, finite) in enumerate(
            zip(
                flat.numpy(),
                (flat == flat[:, :1]).all(1).tolist(),
                flat.isfinite().all(1).tolist(),
                strict=True,
            )
        ):
            own = names[start + i] if names else str(start + i)
            key = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            earlier = hashes.setdefault(key, own)
            if earlier != own:
                copies.append((own, earlier))
            if flat_one and x.ndim == 4:
                constant.append(own)
            if not finite:
                broken.append(own)
    labels = split.labels()
    mean = torch.as_tensor(total).div(len(split)).reshape(-1).tolist()
    counts = () if labels is None else tuple(labels.bincount(minlength=classes).tolist())
    return SplitReport(
        name, len(split), low, high, tuple(mean), counts, tuple(constant), tuple(copies), tuple(broken), grey
    )


def _class_count(dataset: Dataset) -> int:
    labels = [y for y in (dataset.train.labels(), dataset.test.labels()) if y is not None]
    return max((int(y.max()) + 1 for y in labels), default=0)


def _warnings(
    splits: tuple[SplitReport, ...],
    shared: tuple[tuple[str, str], ...],
    names: tuple[str, ...],
    bounds: tuple[float, float] | None,
) -> Iterator[str]:
    for s in splits:
        if s.not_finite:
            bad = s.not_finite
            yield f"{len(bad):,} {s.name} examples hold NaN or infinite values, e.g. {bad[0]}."
        if s.constant:
            yield f"{len(s.constant):,} {s.name} images have one colour throughout, e.g. {s.constant[0]}."
        if s.copies:
            one, earlier = s.copies[0]
            yield f"{len(s.copies):,} {s.name} examples equal an earlier one, e.g. {one} and {earlier}."
        if bounds == (0.0, 1.0) and s.high < 0.02:
            yield f"The highest {s.name} value is {s.high:.4f}: are pixels stored as 0..1 instead of 0..255?"
        empty = [names[i] for i, count in enumerate(s.classes) if count == 0 and i < len(names)]
        if empty:
            yield f"The {s.name} split has no example of {len(empty)} classes, e.g. {empty[0]}."
    if shared:
        one, other = shared[0]
        yield f"{len(shared):,} test examples are also in training, e.g. test {one} and train {other}."
    if all(s.grey for s in splits):
        yield "All images are grey but stored as colour; --dataset.channels grey keeps one value per pixel."
    if splits[0].count < USUAL_BATCH:
        n = splits[0].count
        yield (
            f"{n} training examples are fewer than the recipes' batches of up to {USUAL_BATCH}: "
            f"give vaebm run --pretrain.batch-size {max(n // 2, 1)} --trainer.batch-size {max(n // 2, 1)}."
        )
