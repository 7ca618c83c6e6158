"""Feature spaces in which samples and data are compared."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.builtin.metrics import ClassifierOptions
from vaebm_toolkit.core import Dataset, Features
from vaebm_toolkit.evaluation.classifier import Classifier, classifier, division, labels_of


class Pixels(Features):
    """The values themselves, flattened: (B, D)."""

    def __init__(self, options: None, dataset: Dataset) -> None:
        self.about = {"features": "pixels" if len(dataset.shape) == 3 else "coordinates"}

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class ClassifierFeatures(Features):
    """The last hidden layer of a small classifier, (B, 64), fitted to the data's labels at the first use."""

    def __init__(self, options: ClassifierOptions, dataset: Dataset) -> None:
        labels_of(dataset)  # refuses data without labels
        self.dataset, self.steps = dataset, options.steps

    @functools.cached_property
    def trained(self) -> tuple[Classifier, float]:
        """The classifier and its accuracy, on what `about` says."""
        return classifier(self.dataset, steps=self.steps)

    @property
    def about(self) -> Mapping[str, Any]:  # type: ignore[override]
        return {
            "features": "classifier",
            "classifier accuracy": round(self.trained[1], 4),
            "accuracy on": division(self.dataset).words,
        }

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        features: Tensor = self.trained[0].body(x.to("cpu", torch.float32))
        return features

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        scores: Tensor = self.trained[0].head(features)
        return scores
