"""Metrics that compare the samples' features with the reference split's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.builtin.metrics import FrechetOptions, KernelOptions, MemorisationOptions, PrecisionOptions
from vaebm_toolkit.core import Dataset, Features, Figure, Metric, SampleStream, Split, as_stream, stream
from vaebm_toolkit.errors import DataError
from vaebm_toolkit.evaluation.bootstrap import frechet_error
from vaebm_toolkit.evaluation.frechet import Moments, condensed, frechet_distance
from vaebm_toolkit.evaluation.kernel_distance import kernel_distance, mmd2_error, subsets
from vaebm_toolkit.evaluation.neighbours import memorisation
from vaebm_toolkit.evaluation.precision_recall import expected_coverage, precision_recall

ROWS = 500  # examples of a split read at a time
SHOWN, NEAREST = 8, 7  # samples in a picture, and training examples beside each
ROUNDING = 1e-9  # of the features' mean square, below which a Fréchet distance is 0
JACKKNIFE = 10_000  # rows that the error of a kernel distance is measured on, at most


class Compared(Metric):
    """A metric of two sets of features: those of the samples and those of the reference split."""

    def __init__(self, options: Any, features: Features) -> None:
        self.options, self.features = options, features
        self.protocol: dict[str, Any] = {}

    def describe(self, samples: SampleStream, reference: int, **more: Any) -> None:
        self.protocol = {"samples": len(samples), "reference": reference, **more, **self.features.about}


class Frechet(Compared):
    """Fréchet distance, both sets taken as Gaussians (Heusel et al., 2017, eq. 6).

    Its interval is that of other samples of the same model, as many, the reference held fixed.
    """

    options: FrechetOptions

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        samples = as_stream(samples)
        ours = condensed(samples.features(self.features))
        theirs = condensed(of_split(dataset.test, self.features))
        enough("frechet", len(samples), len(dataset.test))
        value = frechet_distance(ours, theirs)
        if value < ROUNDING * (power(ours) + power(theirs)):
            value = 0.0  # of a set from itself
        self.describe(samples, len(dataset.test))
        error = frechet_error(samples.features(self.features), ours, theirs)
        return {"frechet": Figure.within(value, error, least=0)}


class Kernel(Compared):
    """Kernel distance, KID: unbiased squared MMD with a cubic kernel (Bińkowski et al., 2018).

    Its interval is that of other samples of the same model, as many, and of other subsets, the reference
    held fixed.
    """

    options: KernelOptions

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        samples, o = as_stream(samples), self.options
        ours = first(samples.features(self.features), o.limit)
        theirs = first(of_split(dataset.test, self.features), o.limit)
        enough("kernel", len(ours), len(theirs))
        size = min(o.subset, len(ours), len(theirs))
        chosen = [subsets(len(x), o.subsets, size, stream(0, "kernel", name)) for name, x in
                  (("samples", ours), ("reference", theirs))]  # fmt: skip
        found = kernel_distance(ours, theirs, *chosen)
        error = mmd2_error(ours[:JACKKNIFE], theirs[:JACKKNIFE]) * min(1, JACKKNIFE / len(ours)) ** 0.5
        self.describe(samples, len(theirs), subsets=f"{o.subsets} of {size}", spread=round(found.std, 6))
        return {"kernel": Figure.within(found.value, math.hypot(error, found.error(o.subsets)))}


class PrecisionRecall(Compared):
    """Precision and recall (Kynkäänniemi et al., 2019), density and coverage (Naeem et al., 2020)."""

    options: PrecisionOptions

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        samples, o = as_stream(samples), self.options
        fake = first(samples.features(self.features), o.limit)
        real = first(of_split(dataset.test, self.features), o.limit)
        least = max(o.neighbours, o.density_neighbours) + 1
        enough("precision-recall", len(fake), len(real), least)
        found = precision_recall(real, fake, o.neighbours, o.density_neighbours)
        ideal = expected_coverage(len(real), len(fake), o.density_neighbours)
        self.describe(
            samples, len(real), compared=len(fake), k=o.neighbours, coverage_of_data=round(ideal, 4)
        )
        return found._asdict()


class Memorisation(Compared):
    """Whether samples are nearer to training examples than held-out data are (Meehan et al., 2020)."""

    options: MemorisationOptions

    def check(self, dataset: Dataset) -> None:
        train, test = (getattr(split, "split", split) for split in (dataset.train, dataset.test))
        if train is test:
            raise DataError(
                "memorisation compares training examples with held-out ones, and here both are the same.",
                "Compare with the test split: --split test",
            )

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        samples, limit = as_stream(samples), self.options.limit
        ours = first(samples.features(self.features), limit)
        train = first(of_split(dataset.train, self.features), limit)
        held_out = first(of_split(dataset.test, self.features), limit)
        enough("memorisation", len(ours), min(len(train), len(held_out)))
        found = memorisation(ours, train, held_out)
        self.pictures = neighbours(samples, ours, train, dataset)
        self.describe(samples, len(held_out), training=len(train), expected_share=round(found.expected, 4))
        return {
            "nearer to training": Figure(found.nearer.value, *found.nearer.interval()),
            "share near training": Figure.within(found.share, found.error, 0, 1),
        }


def enough(metric: str, samples: int, reference: int, least: int = 2) -> None:
    """A DataError where either set is too small."""
    if min(samples, reference) < least:
        raise DataError(
            f"{metric} needs at least {least} samples and reference examples, not {samples} and {reference}.",
            "Give more images, or of a run more samples: --count 1000",
        )


def power(x: Tensor | Moments) -> float:
    """‖μ‖² + tr Σ of features: what rounding in a distance is measured by."""
    if isinstance(x, Moments):
        return float(x.mean.square().sum() + x.covariance.trace())
    return float(x.double().square().sum() / len(x))


def neighbours(samples: SampleStream, ours: Tensor, train: Tensor, dataset: Dataset) -> dict[str, Tensor]:
    """The first samples, each in a row with the training examples that are nearest to it."""
    if len(dataset.shape) != 3:
        return {}
    shown = first(iter(samples), SHOWN)
    nearest = torch.cdist(ours[:SHOWN].double(), train.double()).topk(min(NEAREST, len(train)), largest=False)
    rows = [
        torch.cat([x[None].cpu(), dataset.train.batch(index.cpu())])
        for x, index in zip(shown, nearest.indices, strict=True)
    ]
    return {"nearest training examples": torch.stack(rows)}


def of_split(split: Split, features: Features) -> Iterator[Tensor]:
    """The features of a whole split, (B, d), batch by batch; from disk where they are kept there."""
    kept: Callable[[Features], Iterator[Tensor]] | None = getattr(split, "features", None)
    if kept is not None:
        return kept(features)
    return (features(split.batch(index)) for index in torch.arange(len(split)).split(ROWS))


def first(batches: Iterable[Tensor], limit: int) -> Tensor:
    """At most the first `limit` rows."""
    held: list[Tensor] = []
    count = 0
    for x in batches:
        held.append(x[: limit - count])
        count += len(held[-1])
        if count == limit:
            break
    return torch.cat(held)
