"""The Fréchet distance between two sets of features, each taken as a Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^{1/2}), in float64 (Heusel et al., 2017, eq. 6).

    a: (N, d), b: (M, d) features. The trace of the root is the nuclear norm of A Bᵀ, where
    Σ_a = AᵀA and Σ_b = BᵀB: singular values of an N × M or a d × d matrix, whichever is smaller,
    and no matrix root.
    """
    if a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"two sets of at least 2 features of one length, not {a.shape} and {b.shape}")
    a, b = a.double(), b.double()
    mean = (a.mean(0) - b.mean(0)).square().sum()
    a_root, b_root = half(a), half(b)
    cross = torch.linalg.svdvals(a_root @ b_root.T).sum()
    return float(mean + a_root.square().sum() + b_root.square().sum() - 2 * cross)


def half(features: Tensor) -> Tensor:
    """A with AᵀA the unbiased covariance: (N, d) centred rows, or the triangular (d, d) factor."""
    centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if centred.shape[0] > centred.shape[1] else centred
