"""How much of the samples lies where data are, and how much of the data lies where samples are.

A set's manifold is the union of balls around its features, each as large as the distance to the k-th
nearest other feature of the set.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.core import Figure
from vaebm_toolkit.evaluation.pairwise import ROWS, check_features, square_distances

GROUPS = 20


class PrecisionRecall(NamedTuple):
    """Each with the interval of other samples of the same kind, the data held fixed: a delete-a-group
    jackknife over the samples, whose balls keep their size.
    """

    precision: Figure
    """share of samples in the data's manifold (Kynkäänniemi et al., 2019, eq. 2)"""
    recall: Figure
    """share of data in the samples' manifold (eq. 2)"""
    density: Figure
    """mean number of the data's balls around a sample, divided by k (Naeem et al., 2020, section 3);
    expected to be 1 for samples distributed as the data, and not bounded by it"""
    coverage: Figure
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
    inside = torch.zeros(len(fake), dtype=torch.float64, device=fake.device)
    balls = torch.zeros_like(inside)
    groups = min(GROUPS, len(fake))
    of = torch.arange(len(fake), device=fake.device) * groups // len(fake)
    # which groups of samples a point of the data is recalled, or covered, by
    recalled = torch.zeros(len(real), groups, dtype=torch.bool, device=real.device)
    covered = torch.zeros_like(recalled)
    for i in torch.arange(len(real), device=real.device).split(rows):
        for j in torch.arange(len(fake), device=fake.device).split(rows):
            d = square_distances(real[i], fake[j])
            members = torch.nn.functional.one_hot(of[j], groups).to(d)
            inside[j] = inside[j].maximum((d <= narrow[i, None]).any(0).to(d))
            recalled[i] |= (d <= fake_radius[j]).to(d) @ members > 0
            around = (d <= wide[i, None]).to(d)
            covered[i] |= around @ members > 0
            balls[j] += around.sum(0)
    return PrecisionRecall(
        mean_over(inside, of, groups),
        share_reached(recalled),
        mean_over(balls / density_k, of, groups, most=math.inf),
        share_reached(covered),
    )


def mean_over(value: Tensor, group: Tensor, groups: int, most: float = 1) -> Figure:
    """The mean of a value of each sample, (M,)."""
    total = torch.zeros(groups, dtype=torch.float64, device=value.device).index_add_(0, group, value)
    size = group.bincount(minlength=groups)
    return jackknifed(float(value.mean()), (total.sum() - total) / (len(value) - size), most)


def share_reached(by: Tensor) -> Figure:
    """The share of the data that some sample reaches. by: (N, G), whether a sample of the group does."""
    without = by.sum(1, keepdim=True) - by.long() > 0  # by another group
    return jackknifed(float(by.any(1).double().mean()), without.double().mean(0))


def jackknifed(value: float, without: Tensor, most: float = 1) -> Figure:
    """With the standard error sqrt((G − 1)/G Σ_g (θ_g − θ̄)²) of values without one group, (G,).

    The interval stays between 0 and `most`.
    """
    return Figure.within(value, float(((len(without) - 1) * without.var(correction=0)).sqrt()), 0, most)


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
