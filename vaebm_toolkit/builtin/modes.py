"""How many of the data's modes samples cover, and how evenly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.core import Dataset, Metric, ModalDataset
from vaebm_toolkit.errors import DataError


class Modes(Metric):
    """Modes with at least one sample, the share of samples in any, and KL(samples' modes ‖ uniform).

    The last is over the samples that are in a mode; there is none where no sample is. It is not 0 for a
    perfect model: the protocol has what N samples drawn uniformly are expected to give.
    """

    def __init__(self) -> None:
        self.protocol: dict[str, Any] = {}

    def check(self, dataset: Dataset) -> None:
        modal(dataset).about_modes()

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        data = modal(dataset)
        about = data.about_modes()
        modes = torch.cat([data.mode_of(x).cpu() for x in samples])
        self.protocol = {
            "samples": len(modes),
            "modes": data.modes,
            "kl of uniform samples": float(f"{expected_kl(len(modes), data.modes):.4g}"),
            **about,
        }
        inside = modes[modes >= 0]
        counts = inside.bincount(minlength=data.modes)
        figures = {"modes": float((counts > 0).sum()), "in modes": len(inside) / len(modes)}
        return {**figures, "kl to uniform": kl_to_uniform(counts)} if len(inside) else figures


def kl_to_uniform(counts: Tensor) -> float:
    """Σ_m p_m log(M p_m), p = counts / N, in nats; counts: (M,), not all 0."""
    p = counts.double() / counts.sum()
    return float(torch.special.xlogy(p, len(p) * p).sum())


def expected_kl(n: int, modes: int) -> float:
    """E of `kl_to_uniform` for n independent draws from M equally likely modes, nats.

    By symmetry M E[k/n log(M k/n)] with k ~ Binomial(n, 1/M); about (M − 1)/(2 n) for n ≫ M.
    """
    k = torch.arange(1, n + 1, dtype=torch.float64)
    choose = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    log_pmf = choose - k * math.log(modes) + torch.special.xlog1py(n - k, torch.tensor(-1 / modes).double())
    return float(modes * (log_pmf.exp() * k / n * torch.log(modes * k / n)).sum())


def modal(dataset: Dataset) -> ModalDataset:
    if not isinstance(dataset, ModalDataset):
        raise DataError(
            "The data set has no modes that could be counted.",
            'Leave the metric `modes` out: --evaluate.metrics "frechet"; or take data with modes: '
            "--dataset stacked-mnist",
        )
    return dataset


def build(options: None) -> Modes:
    return Modes()
