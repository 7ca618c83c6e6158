"""Nearest training examples of samples, and whether samples are nearer to them than they should be."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.evaluation.pairwise import ROWS, check_features, square_distances
from vaebm_toolkit.evaluation.roc import Auroc, auroc


class Neighbours(NamedTuple):
    distance: Tensor
    """(N, k) float64, ascending"""
    index: Tensor
    """(N, k), rows of the set in which they were looked for"""


def nearest(x: Tensor, among: Tensor, k: int = 1, rows: int = ROWS) -> Neighbours:
    """The k rows of `among` (M, d) nearest to each row of x (N, d), by Euclidean distance.

    Found by blocks of rows × rows; distances are those of differences, exact for copies.
    """
    check_features(x, among, least=1)
    if not 1 <= k <= len(among):
        raise ValueError(f"k is between 1 and the {len(among)} rows to look among, not {k}")
    distances, indices = [], []
    for part in x.split(rows):
        best = torch.empty(len(part), 0, dtype=torch.float64, device=x.device)
        index = torch.empty(len(part), 0, dtype=torch.long, device=x.device)
        for start in range(0, len(among), rows):
            d = square_distances(part, among[start : start + rows])
            found = d.topk(min(k, d.shape[1]), largest=False)
            best, index = torch.cat([best, found.values], 1), torch.cat([index, found.indices + start], 1)
            best, order = best.topk(min(k, best.shape[1]), largest=False)
            index = index.gather(1, order)
        columns = [(part.double() - among[i].double()).norm(dim=1) for i in index.T]
        distance, order = torch.stack(columns, 1).sort(dim=1, stable=True)
        distances.append(distance)
        indices.append(index.gather(1, order))
    return Neighbours(torch.cat(distances), torch.cat(indices))


class Memorisation(NamedTuple):
    """Two comparisons with held-out data; each has a known value for a model that copies nothing."""

    nearer: Auroc
    """P(a sample is nearer to its nearest training example than a held-out example is to its own): 0.5 where
    samples are distributed as the data, 1 for copies (Meehan et al., 2020). It falls with the
    samples' quality too: what is far from all data is far from the training data"""
    ratio: float
    """median distance to the nearest training example: samples' over held-out examples'"""
    share: float
    """share of samples whose nearest of training and held-out examples is a training example, ties half"""
    expected: float
    """its expectation if the model had not seen which examples were which, n/(n + m): whatever the samples
    are, so their quality does not matter, only that held-out data are data like those of training"""
    error: float
    """the standard deviation of `share` then, exact: over all divisions of the n + m examples"""


def memorisation(samples: Tensor, train: Tensor, held_out: Tensor, rows: int = ROWS) -> Memorisation:
    """Of samples (S, d) against n training and m held-out examples, (n, d), (m, d), features of one space.

    With c_j the number of samples whose nearest example is j, `share` is Σ_{j in train} c_j / S, and a
    random division into n and m has variance n m/(n + m) · var(c) / S².
    """
    check_features(samples, train, held_out, least=2)
    to_train, to_held_out = nearest(samples, train, rows=rows), nearest(samples, held_out, rows=rows)
    held_to_train = nearest(held_out, train, rows=rows).distance[:, 0]
    ours, theirs = to_train.distance[:, 0], to_held_out.distance[:, 0]
    won = (ours < theirs).double() + 0.5 * (ours == theirs).double()
    n, m = len(train), len(held_out)
    counts = torch.zeros(n + m, dtype=torch.float64, device=samples.device)
    counts.index_add_(0, to_train.index[:, 0], won).index_add_(0, n + to_held_out.index[:, 0], 1 - won)
    return Memorisation(
        nearer=auroc(held_to_train, ours),
        ratio=float(ours.median() / held_to_train.median()),
        share=float(won.mean()),
        expected=n / (n + m),
        error=float((n * m / (n + m) * counts.var()).sqrt()) / len(samples),
    )
