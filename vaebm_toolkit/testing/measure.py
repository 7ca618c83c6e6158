"""What claims measure with: differences, global generators, weights that are not those of a start."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vaebm_toolkit.core import RowStreams, randn, stream
from vaebm_toolkit.testing.claims import Fault

EQUAL = 1e-6
"""Relative difference below which two float64 results that took different ways are the same."""
SIGMAS = 6.0
"""Standard errors beyond which a mean is not what it was claimed to be: one in 5e8 by chance."""

T = TypeVar("T")
Module = TypeVar("Module", bound=nn.Module)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest |a − b| over the largest |a| or |b|; inf where shapes differ or one alone is not finite."""
    if a.shape != b.shape:
        return float("inf")
    if not a.numel():
        return 0.0
    a, b = a.detach().to(torch.float64), b.detach().to(torch.float64)
    both = torch.isfinite(a) & torch.isfinite(b)
    if not both.all():
        return 0.0 if torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) else float("inf")
    size = torch.stack([a.abs().max(), b.abs().max()]).max()
    return float((a - b).abs().max() / size) if size else 0.0


def states_differ(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> str | None:
    """The first name whose tensors are not bit for bit the same, or that one side lacks."""
    for name in {**a, **b}:
        if name not in a or name not in b or not same_bits(a[name], b[name]):
            return name
    return None


def same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))


@contextmanager
def no_global_randomness(what: str) -> Iterator[None]:
    """Fault if the block draws from, or seeds, a generator that is not an argument."""
    before = global_generators()
    yield
    after = global_generators()
    for name, state in before.items():
        if after[name] != state:
            raise Fault(
                f"{what} draws from (or seeds) the global generator of {name}",
                "randomness by the argument `rng` alone, so that a resumed run repeats itself",
                "Draw with core.randn_like(v, rng), core.randn(…) or core.rand(…); use no Dropout.",
            )


def global_generators() -> dict[str, Any]:
    found: dict[str, Any] = {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "Python's random": random.getstate(),
    }
    if (numpy := sys.modules.get("numpy")) is not None:
        name, keys, *rest = numpy.random.get_state()
        found["numpy"] = (name, keys.tobytes(), *rest)
    return found


def rows_of_streams(n: int, *path: str | int, first: int = 0) -> RowStreams:
    """One stream per row; row i's is the same in every batch that starts at `first`."""
    return RowStreams([stream(0, "row", *path, i) for i in range(first, first + n)])


@torch.no_grad()
def stirred(module: Module, rng: torch.Generator, scale: float = 0.1) -> Module:
    """The module with noise on every weight and on BatchNorm's statistics, as if it had been trained.

    Output layers that start at 0 hide what lies behind them.
    """
    for p in module.parameters():
        if p.is_floating_point():
            size = float(p.square().mean().sqrt()) if p.numel() else 0.0
            p.add_(scale * max(size, 0.5) * randn(p.shape, rng, like=p))
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None:
            m.running_mean.add_(scale * randn(m.running_mean.shape, rng, like=m.running_mean))
            m.running_var.mul_((scale * randn(m.running_var.shape, rng, like=m.running_var)).exp())
    return module


def on_a_copy(module: Module, use: Callable[[Module], T]) -> T:
    """`use` of a copy, so that what it moves in the module is forgotten."""
    return use(copy.deepcopy(module))


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean of independent values (N,) and its standard error."""
    return float(values.mean()), float(values.std() / len(values) ** 0.5)
