"""Metrics that are a distance between the samples' features and the test split's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.builtin.metrics import FrechetOptions
from vaebm_toolkit.core import Dataset, Features, Metric
from vaebm_toolkit.evaluation.frechet import frechet_distance


class Frechet(Metric):
    """Fréchet distance between samples and the whole test split in one feature space."""

    def __init__(self, options: FrechetOptions, features: Features) -> None:
        self.features = features
        self.protocol: dict[str, Any] = {}

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        with torch.no_grad():
            ours = torch.cat([self.features(x.cpu()) for x in samples])
            order = torch.arange(len(dataset.test)).split(500)
            theirs = torch.cat([self.features(dataset.test.batch(i)) for i in order])
        self.protocol = {"split": "test", "reference": len(dataset.test), **self.features.about}
        return {"frechet": frechet_distance(ours, theirs)}
