"""Metrics that are a distance between the samples' features and the test split's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.core import Dataset, Metric
from vaebm_toolkit.evaluation.features import Features, labels_of, pixels, train_classifier
from vaebm_toolkit.evaluation.frechet import frechet_distance


class Frechet(Metric):
    """Fréchet distance between samples and the whole test split in one feature space."""

    def __init__(
        self,
        name: str,
        features: Callable[[Dataset], tuple[Features, Mapping[str, Any]]],
        needs: Callable[[Dataset], object] = lambda dataset: None,
    ) -> None:
        self.name, self.features, self.needs = name, features, needs
        self.protocol: dict[str, Any] = {}
        self.space: Features | None = None

    def check(self, dataset: Dataset) -> None:
        self.needs(dataset)

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        if self.space is None:
            self.space, about = self.features(dataset)
            self.protocol = {"split": "test", "reference": len(dataset.test), **about}
        space = self.space
        with torch.no_grad():
            ours = torch.cat([space(x.cpu()) for x in samples])
            order = torch.arange(len(dataset.test)).split(500)
            theirs = torch.cat([space(dataset.test.batch(i)) for i in order])
        return {self.name: frechet_distance(ours, theirs)}


def pixel_frechet(options: None) -> Metric:
    return Frechet(
        "frechet",
        lambda dataset: (
            pixels(dataset),
            {"features": "pixels" if len(dataset.shape) == 3 else "coordinates"},
        ),
    )


def classifier_frechet(options: None) -> Metric:
    def features(dataset: Dataset) -> tuple[Features, Mapping[str, Any]]:
        model, accuracy = train_classifier(dataset)
        return model.body, {"features": "classifier", "classifier accuracy": round(accuracy, 4)}

    return Frechet("frechet-classifier", features, labels_of)
