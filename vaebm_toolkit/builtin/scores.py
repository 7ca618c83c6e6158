"""Metrics of the samples alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.builtin.metrics import ScoreOptions
from vaebm_toolkit.core import Dataset, Features, Figure, Metric, as_stream
from vaebm_toolkit.errors import DataError
from vaebm_toolkit.evaluation.inception_score import inception_score

LEAST = 10  # samples of a split, below which a split's own mean is no p(y)


class Score(Metric):
    """exp E KL(p(y|x) ‖ p(y)) of a feature space that has classes (Salimans et al., 2016)."""

    def __init__(self, options: ScoreOptions, features: Features) -> None:
        self.options, self.features = options, features
        self.protocol: dict[str, Any] = {}

    def check(self, dataset: Dataset) -> None:
        if not self.features.has_classes:
            raise DataError(
                "evaluate.metrics: inception-score needs a feature space with classes.",
                "Choose one: --features classifier, or --features inception",
            )

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        self.check(dataset)
        samples = as_stream(samples)
        logits = torch.cat([self.features.logits(f) for f in samples.features(self.features)])
        splits = max(1, min(self.options.splits, len(logits) // LEAST))
        found = inception_score(logits, splits)
        self.protocol = {"samples": len(samples), "splits": splits, **self.features.about}
        if splits < self.options.splits:
            named = "1 split" if splits == 1 else f"{splits} splits"
            few = f"{named} in place of {self.options.splits}: each is of {LEAST} samples at least"
            self.protocol["found"] = {"reading": {"score": few}}
        if splits == 1:  # nothing that a spread could be of
            return {"score": Figure(found.value)}
        return {"score": Figure.within(found.value, found.std / splits**0.5, 1, logits.shape[1])}
