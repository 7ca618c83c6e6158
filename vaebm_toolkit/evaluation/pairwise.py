"""Distances between all rows of two sets, a block at a time."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 4096  # rows of a block: 128 MiB of distances


def square_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a_i − b_j‖², (n, m) float64, for a (n, d), b (m, d).

    As ‖a‖² + ‖b‖² − 2 aᵀb, by a matrix product: what is below about 1e-15 (‖a‖² + ‖b‖²) is rounding.
    """
    a, b = a.double(), b.double()
    found = torch.addmm(b.square().sum(1), a, b.T, alpha=-2)
    return found.add_(a.square().sum(1, keepdim=True)).clamp_(min=0)


def check_features(*sets: Tensor, least: int = 1) -> None:
    """Raises where these are not (N, d) with one d and N at least `least`."""
    shapes = [tuple(x.shape) for x in sets]
    if any(x.ndim != 2 for x in sets) or len({x.shape[1] for x in sets}) != 1 or min(map(len, sets)) < least:
        raise ValueError(f"sets of at least {least} features of one length, (N, d), not {shapes}")
