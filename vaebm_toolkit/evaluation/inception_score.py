"""The inception score: how sure a classifier is of each sample, and how various its answers are."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


class InceptionScore(NamedTuple):
    """Between 1 and the number of classes."""

    value: float
    """mean over splits"""
    std: float
    """standard deviation over splits (divided by their number, not less one), as published"""


def inception_score(logits: Tensor, splits: int = 10) -> InceptionScore:
    """exp E_x KL(p(y|x) ‖ p(y)), mean over splits (Salimans et al., 2016, section 4), in float64.

    logits: (N, classes), a classifier's, or log p(y|x). Split k has rows kN/splits to (k+1)N/splits, in the
    order given: where samples are sorted, shuffle them first. p(y) is the split's own mean, so the
    score rises with N: compare at equal N and splits.
    """
    if logits.ndim != 2 or not 1 <= splits <= len(logits):
        raise ValueError(
            f"{splits} splits need logits (N, classes) with N at least {splits}, not {tuple(logits.shape)}"
        )
    p = logits.double().softmax(1)
    edges = [k * len(p) // splits for k in range(splits + 1)]
    scores = torch.stack([information(p[i:j]) for i, j in pairwise(edges)]).exp()
    return InceptionScore(float(scores.mean()), float(scores.std(correction=0)))


def information(p: Tensor) -> Tensor:
    """mean_x KL(p(y|x) ‖ p(y)) = H(y) − H(y|x), nats, for p(y|x) (n, classes)."""
    return torch.special.entr(p.mean(0)).sum() - torch.special.entr(p).sum(1).mean()
