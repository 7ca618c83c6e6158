"""How much of the samples lies where data are, and how much of the data lies where samples are.

A set's manifold is the union of balls around its features, each as large as the distance to the k-th
nearest other feature of the set.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.evaluation.pairwise import ROWS, check_features, square_distances


class PrecisionRecall(NamedTuple):
    precision: float
    """share of samples in the data's manifold (Kynkäänniemi et al., 2019, eq. 2)"""
    recall: float
    """share of data in the samples' manifold (eq. 2)"""
    density: float
    """mean number of the data's balls around a sample, divided by k (Naeem et al., 2020, section 3);
    expected to be 1 for samples distributed as the data, and not bounded by it"""
    coverage: float
    """share of the data's balls with a sample in them (the same); `expected_coverage` where samples are
    distributed as the data"""


def precision_recall(
    real: Tensor, fake: Tensor, k: int = 3, density_k: int = 5, rows: int = ROWS
) -> PrecisionRecall:
    """Of samples `fake` (M, d) against data `real` (N, d), float64 distances.

    k: neighbours for precision and recall, density_k: for density and coverage, both as published. A
    point on a ball's surface is inside (Kynkäänniemi et al., eq. 1). Memory is that of three blocks of
    rows × max(rows, d), besides the features.
    """
    check_features(real, fake, least=max(k, density_k) + 1)
    if min(k, density_k) < 1:
        raise ValueError(f"k and density_k are at least 1, not {k} and {density_k}")
    data = nearest_squares(real, max(k, density_k), rows)
    wide, narrow = data[:, density_k - 1], data[:, k - 1]
    fake_radius = nearest_squares(fake, k, rows)[:, -1]
    inside = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered, balls = torch.zeros_like(recalled), 0
    for i in torch.arange(len(real), device=real.device).split(rows):
        for j in torch.arange(len(fake), device=fake.device).split(rows):
            d = square_distances(real[i], fake[j])
            inside[j] |= (d <= narrow[i, None]).any(0)
            recalled[i] |= (d <= fake_radius[j]).any(1)
            around = d <= wide[i, None]
            covered[i] |= around.any(1)
            balls += int(around.sum())
    mean = (float(x.double().mean()) for x in (inside, recalled, covered))
    precision, recall, coverage = mean
    return PrecisionRecall(precision, recall, balls / (density_k * len(fake)), coverage)


def nearest_squares(x: Tensor, k: int, rows: int = ROWS) -> Tensor:
    """Squared distances of each row to its k nearest other rows, ascending, (N, k) float64."""
    best = torch.full((len(x), k), torch.inf, dtype=torch.float64, device=x.device)

    def keep(index: Tensor, distances: Tensor) -> None:
        found = distances.topk(min(k, distances.shape[1]), largest=False).values
        best[index] = torch.cat([best[index], found], 1).topk(k, largest=False).values

    parts = torch.arange(len(x), device=x.device).split(rows)
    for place, i in enumerate(parts):
        keep(i, square_distances(x[i], x[i]).fill_diagonal_(torch.inf))
        for j in parts[place + 1 :]:
            d = square_distances(x[i], x[j])  # both triangles from one block
            keep(i, d)
            keep(j, d.T)
    return best


def expected_coverage(n: int, m: int, k: int = 5) -> float:
    """E[coverage] of m samples distributed as the n data (Naeem et al., 2020, section 3).

    1 − Π_{j=1..k} (n − j)/(n + m − j): a ball has no sample where its k nearest of all are data. About
    1 − 2^−k at n = m.

    >>> round(expected_coverage(10_000, 10_000), 4)
    0.9688
    """
    return 1 - math.prod((n - j) / (n + m - j) for j in range(1, k + 1))
