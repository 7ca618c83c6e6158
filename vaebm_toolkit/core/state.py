"""Operations on states: dictionaries of tensors with one row per chain."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vaebm_toolkit.core.interfaces import Generator, State
from vaebm_toolkit.core.rng import rand, randn


def standard_normal(
    groups: Mapping[str, tuple[int, ...]], n: int, rng: torch.Generator, like: Tensor | None = None
) -> State:
    """ε ~ N(0, I): {group: (n, *shape)}, drawn group after group in the mapping's order."""
    return {name: randn((n, *shape), rng, like) for name, shape in groups.items()}


def data_noise(
    shape: tuple[int, ...],
    bounds: tuple[float, float] | None,
    n: int,
    rng: torch.Generator,
    like: Tensor | None = None,
) -> State:
    """{"x": (n, *shape)}, uniform within `bounds`, or standard normal where data have none (IGEBM)."""
    if bounds is None:
        return {"x": randn((n, *shape), rng, like)}
    low, high = bounds
    return {"x": low + (high - low) * rand((n, *shape), rng, like)}


@torch.no_grad()
def generated(
    generator: Generator,
    bounds: tuple[float, float] | None,
    n: int,
    rng: torch.Generator,
    like: Tensor | None = None,
) -> State:
    """{"x": (n, *data shape)}: samples T(ε) of the generator, ε ~ N(0, I), put within `bounds`."""
    x = generator.decode(standard_normal(generator.groups, n, rng, like)).x
    return {"x": x if bounds is None else x.clamp(*bounds)}


def rows(state: State, index: slice | Tensor) -> State:
    return {k: v[index] for k, v in state.items()}


def batch_size(state: State) -> int:
    return len(next(iter(state.values())))


def is_finite(state: State) -> Tensor:
    """0-d bool: no group holds NaN or an infinity. Not synchronised."""
    return torch.stack([torch.isfinite(v).all() for v in state.values()]).all()
