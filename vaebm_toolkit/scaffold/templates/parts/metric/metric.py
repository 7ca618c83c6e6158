"""How far samples are from data in mean and standard deviation."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.core import Dataset, Metric

from . import Options


class Moments(Metric):
    """Root mean square, over the values of an example, of the difference in mean and standard deviation."""

    def __init__(self, options: Options) -> None:
        self.split = options.split
        self.protocol: dict[str, Any] = {}  # what must stand beside the figures

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        split = dataset.test if self.split == "test" else dataset.train
        data = (split.batch(i) for i in torch.arange(len(split)).split(500))
        (mean, std), (data_mean, data_std) = moments(samples), moments(data)
        self.protocol = {"split": self.split, "reference": len(split)}
        return {"mean distance": rms(mean - data_mean), "std distance": rms(std - data_std)}


@torch.no_grad()
def moments(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each value, (D,) each, in float64."""
    x = torch.cat([b.flatten(1).to("cpu", torch.float64) for b in batches])
    return x.mean(0), x.std(0, correction=0)


def rms(difference: Tensor) -> float:
    return float(difference.square().mean().sqrt())


def build(options: Options) -> Moments:
    return Moments(options)
