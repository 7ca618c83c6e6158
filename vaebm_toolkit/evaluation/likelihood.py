"""How likely an autoencoder finds examples: the ELBO, and the tighter importance-weighted bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.core import Autoencoder, RowStreams, Split, stream

Told = Callable[[int, int], None]


class Bound(NamedTuple):
    """A lower bound of E[log p(x)] over examples, in nats per example."""

    nats: float
    error: float
    """standard error of the mean over examples"""
    examples: int


class Likelihood(NamedTuple):
    elbo: Bound
    log_px: float
    """E[log p(x|z)], nats"""
    kl: list[float]
    """per group, coarse to fine, nats"""
    units: Mapping[str, Tensor]
    """group -> KL of each unit, nats"""
    importance: Bound | None
    draws: int


def bound_of(values: Tensor) -> Bound:
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else math.inf
    return Bound(float(values.mean()), error, len(values))


@torch.no_grad()
def likelihood(
    model: Autoencoder, split: Split, *, examples: int, weighted: int, draws: int, seed: int,
    batch_size: int, device: torch.device, told: Told = lambda done, total: None,
) -> Likelihood:  # fmt: skip
    """Bounds on log p(x) for the first `examples` of a split, and with `draws` weights for the first
    `weighted` of them.

    ELBO = E_q[log p(x|z)] − KL(q ‖ p), one posterior sample each. The importance-weighted bound is
    log (1/K) Σ_k p(x, z_k) / q(z_k|x), E of which rises with K towards log p(x) (Burda et al., 2016).
    Example i draws from streams of its own, so nothing depends on the batch size.
    """
    examples = min(examples, len(split))
    weighted = min(weighted, examples) if draws else 0
    total = -(-examples // batch_size) + draws * -(-weighted // batch_size)
    log_px, kl, units, passes = [], [], {}, count(1)
    for index in torch.arange(examples).split(batch_size):
        x = split.batch(index).to(device)
        elbo = model.elbo(x, streams(seed, "elbo", index, device))
        log_px.append(elbo.log_px.double().cpu())
        kl.append(elbo.kl.double().cpu())
        for name, value in model.kl_units(x, streams(seed, "elbo", index, device)).items():
            units[name] = units.get(name, 0) + value.double().cpu() * len(index) / examples
        told(next(passes), total)
    weights = []
    for index in torch.arange(weighted).split(batch_size) if weighted else ():
        x = split.batch(index).to(device)
        weights.append(importance_bound(model, x, index, draws, seed, lambda: told(next(passes), total)))
    px, groups = torch.cat(log_px), torch.cat(kl)
    importance = bound_of(torch.cat(weights)) if weights else None
    return Likelihood(
        bound_of(px - groups.sum(1)), float(px.mean()), groups.mean(0).tolist(), units, importance, draws
    )


@torch.no_grad()
def importance_bound(
    model: Autoencoder,
    x: Tensor,
    index: Tensor,
    draws: int,
    seed: int,
    told: Callable[[], None] = lambda: None,
) -> Tensor:
    """log (1/K) Σ_k p(x, z_k) / q(z_k|x), z_k ~ q(z|x), (B,) float64 on the CPU (Burda et al., 2016, eq. 8).

    index: (B,), the numbers of the examples x, whose streams they draw from.
    """
    found = []
    for k in range(draws):
        found.append(model.log_weight(x, streams(seed, f"weight {k}", index, x.device)).double().cpu())
        told()
    return torch.logsumexp(torch.stack(found), 0) - math.log(draws)


def streams(seed: int, name: str, index: Tensor, device: torch.device) -> RowStreams:
    return RowStreams([stream(seed, name, int(i), device=device) for i in index])


def active(units: Mapping[str, Tensor], threshold: float) -> dict[str, int]:
    """Group -> number of units whose KL exceeds `threshold` nats."""
    return {name: int((value > threshold).sum()) for name, value in units.items()}


def bits_per_dim(nats: float, dimensions: int) -> float:
    """−log₂ p(x) per value.

    >>> round(bits_per_dim(-784 * math.log(2), 784), 12)
    1.0
    """
    return -nats / (math.log(2) * dimensions)
