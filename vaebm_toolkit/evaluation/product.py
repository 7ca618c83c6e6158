"""How likely the product h(x) = p_θ(x) exp(−E(x)) / Z finds examples (VAEBM, eq. 2)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.core import Autoencoder, EnergyFunction, Split
from vaebm_toolkit.evaluation.likelihood import Bound, bits_per_dim, bound_of, importance_weighted
from vaebm_toolkit.evaluation.partition import Bounds, LogZ


class Parts(NamedTuple):
    """What of log h belongs to each example."""

    log_px: Tensor
    """(N,) nats, a lower bound of log p_θ(x) in expectation"""
    energy: Tensor
    """(N,) E(x)"""
    density: str
    """what p_θ(x) is, and with it h(x), in words: `Autoencoder.density`"""


class ProductLikelihood(NamedTuple):
    """Mean log h(x) over examples, nats per example."""

    lower: Bound | None
    """mean (log_px − E) − upper bound of log Z; None where log Z has none"""
    upper: Bound
    """mean (log_px − E) − lower bound of log Z; an upper bound but for what log_px lacks of log p_θ"""
    density: str

    def bits(self, dimensions: int) -> tuple[float, float]:
        """−log₂ h(x) per value: the smallest and the largest, from `upper` and from `lower`."""
        least = bits_per_dim(self.upper.nats, dimensions)
        return least, math.inf if self.lower is None else bits_per_dim(self.lower.nats, dimensions)


@torch.no_grad()
def parts(
    model: Autoencoder, energy: EnergyFunction, split: Split, *, examples: int, draws: int, seed: int,
    batch_size: int, device: torch.device,
) -> Parts:  # fmt: skip
    """The importance-weighted bound of log p_θ(x) and E(x) of the first `examples` of a split.

    draws: weights per example; with one of them the bound is the ELBO.
    """
    log_px = importance_weighted(
        model, split, examples=examples, draws=draws, seed=seed, batch_size=batch_size, device=device
    )
    batches = torch.arange(len(log_px)).split(batch_size)
    values = torch.cat([energy(split.batch(index).to(device)).double().cpu() for index in batches])
    return Parts(log_px, values, model.density)


def product_likelihood(found: Parts, log_z: Bounds) -> ProductLikelihood:
    """log h(x) = log p_θ(x) − E(x) − log Z, from both sides of log Z.

    Each error joins the one of the mean over examples, in which log p_θ and E of an example stay
    together, with the one of log Z, which all examples share.
    """
    tilted = bound_of(found.log_px - found.energy)

    def less(z: LogZ) -> Bound:
        return Bound(tilted.nats - z.value, math.hypot(tilted.error, z.error), tilted.examples)

    return ProductLikelihood(
        None if log_z.upper is None else less(log_z.upper), less(log_z.lower), found.density
    )
