"""Operations on states: dictionaries of tensors with one row per chain."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vaebm_toolkit.core.interfaces import State
from vaebm_toolkit.core.rng import randn


def standard_normal(
    groups: Mapping[str, tuple[int, ...]], n: int, rng: torch.Generator, like: Tensor | None = None
) -> State:
    """ε ~ N(0, I): {group: (n, *shape)}, drawn group after group in the mapping's order."""
    return {name: randn((n, *shape), rng, like) for name, shape in groups.items()}


def without_data_noise(eps: State) -> State:
    """ε with ε_x = 0, whose image under T is the decoder's mean."""
    return {k: torch.zeros_like(v) if k == "x" else v for k, v in eps.items()}


def rows(state: State, index: slice | Tensor) -> State:
    return {k: v[index] for k, v in state.items()}


def batch_size(state: State) -> int:
    return len(next(iter(state.values())))


def is_finite(state: State) -> Tensor:
    """0-d bool: no group holds NaN or an infinity. Not synchronised."""
    return torch.stack([torch.isfinite(v).all() for v in state.values()]).all()
