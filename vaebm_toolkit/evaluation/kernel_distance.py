"""The kernel distance (KID): an unbiased squared maximum mean discrepancy with a cubic kernel."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class KernelDistance(NamedTuple):
    """KID over subsets."""

    value: float
    """mean over subsets, unbiased; below 0 for half of the draws from equal distributions"""
    std: float
    """standard deviation over subsets (divided by their number, not less one); no standard error of `value`:
    subsets share rows, and it does not shrink with their number"""

    def error(self, subsets: int) -> float:
        """Standard error of `value` over other choices of as many subsets of the same rows, std/√(S − 1)."""
        return self.std / (subsets - 1) ** 0.5


def kernel_distance(a: Tensor, b: Tensor, index_a: Tensor, index_b: Tensor) -> KernelDistance:
    """Mean and spread of `mmd2` over subsets (Bińkowski et al., 2018, section 4), in float64.

    a: (N, d), b: (M, d) features; index_a, index_b: (S, m) row numbers of S subsets, from `subsets`.
    Published values are for 100 subsets of min(1000, N, M) rows.
    """
    pairs = zip(index_a, index_b, strict=True)
    found = torch.tensor([mmd2(a[i], b[j]) for i, j in pairs], dtype=torch.float64)
    return KernelDistance(float(found.mean()), float(found.std(correction=0)))


def subsets(rows: int, count: int, size: int, rng: torch.Generator) -> Tensor:
    """(count, size) row numbers, each subset without replacement; a size above `rows` becomes `rows`."""
    return torch.stack([torch.randperm(rows, generator=rng, device=rng.device)[:size] for _ in range(count)])


def mmd2(a: Tensor, b: Tensor, rows: int = 4096) -> float:
    """Unbiased MMD² of all rows (Gretton et al., 2012, eq. 3), in float64.

    mean_{i≠j} k(a_i, a_j) + mean_{i≠j} k(b_i, b_j) − 2 mean_{ij} k(a_i, b_j). a: (N, d), b: (M, d);
    kernels are computed in blocks of rows × rows. Time is that of N² + M² + 2 N M products of d.
    """
    if a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"two sets of at least 2 features of one length, not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    between = sum(float(kernel(x, y).sum()) for x in a.split(rows) for y in b.split(rows))
    return within(a, rows) + within(b, rows) - 2 * between / (len(a) * len(b))


def mmd2_error(a: Tensor, b: Tensor, groups: int = 20) -> float:
    """Standard error of `mmd2` over other rows a of the same kind, b held fixed: delete-a-group jackknife.

    sqrt((G − 1)/G Σ_g (θ_g − θ̄)²), θ_g without the g-th part of a (Shao and Tu, 1995, section 2.3). One pass:
    what each group adds to either sum of kernels is taken off.
    """
    parts = a.tensor_split(min(groups, len(a) // 2))
    sizes = torch.tensor([len(part) for part in parts], dtype=torch.float64)
    block = torch.tensor([[float(kernel(x, y).sum()) for y in parts] for x in parts], dtype=torch.float64)
    diagonal = torch.stack([(x.double().square().sum(1) / x.shape[1] + 1).pow(3).sum() for x in parts])
    cross = torch.tensor([sum(float(kernel(x, y).sum()) for y in b.split(4096)) for x in parts]).double()
    rest = len(a) - sizes
    own = block.sum() - 2 * block.sum(1) + block.diagonal() - (diagonal.sum() - diagonal.cpu())
    left = own / (rest * (rest - 1)) - 2 * (cross.sum() - cross) / (rest * len(b))
    return float(((len(parts) - 1) * left.var(correction=0)).sqrt())


def within(x: Tensor, rows: int) -> float:
    """mean_{i≠j} k(x_i, x_j); blocks above the diagonal count twice."""
    parts, total = x.split(rows), 0.0
    for i, part in enumerate(parts):
        own = kernel(part, part)
        total += float(own.sum() - own.trace())
        total += sum(2 * float(kernel(part, other).sum()) for other in parts[i + 1 :])
    return total / (len(x) * (len(x) - 1))


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """(xᵀy/d + 1)³, (n, m) float64, for x (n, d), y (m, d) (Bińkowski et al., 2018, section 4)."""
    return (x.double() @ y.double().T).div_(x.shape[1]).add_(1).pow_(3)
