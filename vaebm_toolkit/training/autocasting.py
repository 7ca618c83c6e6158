"""Autocast where torch has none: on the meta device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

LOWER = [
    (F, "conv1d conv2d conv3d conv_transpose2d linear scaled_dot_product_attention"),
    (torch, "conv1d conv2d conv3d matmul mm bmm addmm baddbmm einsum"),
    (Tensor, "matmul __matmul__"),
]
HIGHER = [
    (F, "softplus log_softmax softmax mse_loss layer_norm"),
    (torch, "exp log pow sum prod cumsum norm softmax log_softmax logsumexp"),
    (Tensor, "exp log pow __pow__ sum prod cumsum norm"),
]


@contextmanager
def meta_autocast() -> Iterator[None]:
    """`torch.autocast` in bfloat16 in short: matrix work in bfloat16, what loses digits in float32.

    A weight is converted once. Functions are replaced by name, as modes are off in a backward pass, where
    activations may be computed again: for one thread, and for the backward pass as well.
    """
    weights: dict[int, tuple[Tensor, Tensor]] = {}
    with ExitStack() as stack:
        for dtype, table in ((torch.bfloat16, LOWER), (torch.float32, HIGHER)):
            for owner, names in table:
                for name in names.split():
                    wrapped = in_dtype(getattr(owner, name), dtype, weights)
                    stack.enter_context(patch.object(owner, name, wrapped))
        yield


def in_dtype(function: Callable[..., Any], dtype: torch.dtype, weights: dict[int, Any]) -> Callable[..., Any]:
    """`function` of its floating arguments in `dtype`."""

    def cast(value: Any) -> Any:
        if isinstance(value, (tuple, list)) and any(isinstance(v, Tensor) for v in value):
            return [cast(v) for v in value]
        if not isinstance(value, Tensor) or value.dtype not in (torch.float32, torch.bfloat16):
            return value
        if not (value.is_leaf and value.requires_grad and dtype is torch.bfloat16):
            return value.to(dtype)
        if id(value) not in weights:
            weights[id(value)] = value, value.to(dtype)
        return weights[id(value)][1]

    @functools.wraps(function)
    def casting(*args: Any, **kwargs: Any) -> Any:
        return function(*map(cast, args), **{k: cast(v) for k, v in kwargs.items()})

    return casting
