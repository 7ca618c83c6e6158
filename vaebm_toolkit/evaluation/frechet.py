"""The Fréchet distance between two sets of features, each taken as a Gaussian.

It is biased: over draws of N rows its mean exceeds the distance of the distributions, by about c/N for
N ≫ d (Chong & Forsyth, 2020). Only distances at equal N compare.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """What the distance needs of a set of features, in float64: (d,) and (d, d) whatever N is."""

    count: int
    """N, rows"""
    mean: Tensor
    """μ, (d,)"""
    scatter: Tensor
    """Σ_i (x_i − μ)(x_i − μ)ᵀ, (d, d)"""

    @classmethod
    def of(cls, batches: Iterable[Tensor]) -> Moments:
        """Of the rows of all batches, (B, d) each, in one pass; of a tensor: `Moments.of(x.split(4096))`."""
        return reduce(cls.merged, map(cls.one, batches))

    @classmethod
    def one(cls, features: Tensor) -> Moments:
        """Of one batch (B, d)."""
        if features.ndim != 2 or not len(features):
            raise ValueError(f"a batch of features is (B, d) with B at least 1, not {tuple(features.shape)}")
        x = features.double()
        mean = x.mean(0)
        x = x - mean
        return cls(len(x), mean, x.T @ x)

    def merged(self, other: Moments) -> Moments:
        """Of both sets of rows together (Chan, Golub & LeVeque, 1983)."""
        count, delta = self.count + other.count, other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        between = delta * (self.count * other.count / count)
        return Moments(count, mean, torch.addr(self.scatter + other.scatter, between, delta))

    @property
    def covariance(self) -> Tensor:
        """The unbiased Σ, (d, d)."""
        return self.scatter / (self.count - 1)


def frechet_distance(a: Tensor | Moments, b: Tensor | Moments) -> float:
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^{1/2}), in float64 (Heusel et al., 2017, eq. 6).

    a: (N, d), b: (M, d) features, or their moments; in squared units of the features. The trace of
    the root is the nuclear norm of A Bᵀ, where Σ_a = AᵀA and Σ_b = BᵀB: singular values of a matrix
    that is smaller than d × d where N or M is, and no matrix root.

    Features with N > d are copied twice in float64; moments are not.
    """
    (n, d), (m, e) = size(a), size(b)
    if d != e or min(n, m) < 2:
        raise ValueError(f"two sets of at least 2 features of one length, not {(n, d)} and {(m, e)}")
    mean = (center(a) - center(b)).square().sum()
    a_root, b_root = root(a), root(b)
    cross = torch.linalg.svdvals(a_root @ b_root.T).sum()
    return float(mean + a_root.square().sum() + b_root.square().sum() - 2 * cross)


def condensed(batches: Iterable[Tensor]) -> Tensor | Moments:
    """What the distance needs of all rows: themselves while N ≤ d, less and quicker, else their moments."""
    held, rows, rest = list[Tensor](), 0, iter(batches)
    for x in rest:
        held.append(x)
        rows += len(x)
        if rows > x.shape[1]:
            del x  # each batch is let go once it is counted
            return Moments.of(chain((held.pop(0) for _ in range(len(held))), rest))
    return torch.cat(held)


def size(x: Tensor | Moments) -> tuple[int, int]:
    """N, d"""
    return (x.count, len(x.mean)) if isinstance(x, Moments) else (x.shape[0], x.shape[1])


def center(x: Tensor | Moments) -> Tensor:
    """μ, (d,) float64"""
    return x.mean if isinstance(x, Moments) else x.mean(0, dtype=torch.float64)


def root(x: Tensor | Moments) -> Tensor:
    """A, (r, d), with AᵀA the unbiased covariance and r = min(N, d), or its rank min(N − 1, d) from moments.

    Of features: centred rows, or the triangular factor. Of moments: √λ_i u_iᵀ, eigenvalues and
    -vectors of Σ; those beyond the rank are rounding, whose roots would not be small.
    """
    if isinstance(x, Moments):
        values, vectors = torch.linalg.eigh(x.covariance)
        rank = min(x.count - 1, len(x.mean))
        return (vectors[:, -rank:] * values[-rank:].clamp(min=0).sqrt()).T
    x = x.double()
    centred = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if len(x) > x.shape[1] else centred
