"""Random streams: always an argument, always reproducible from a seed and a path of names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def stream(seed: int, *path: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """An independent stream for each (seed, path), the same on every machine.

    Streams for different steps, stages or ranks differ by their path, so a resumed run
    needs no stored generator state: step k draws what step k always draws.
    """
    words = "/".join(str(p) for p in (seed, *path)).encode()
    key = int.from_bytes(hashlib.sha256(words).digest()[:8], "big") >> 1
    return torch.Generator(device).manual_seed(key)


class RowStreams(torch.Generator):
    """One stream per row of a batch, so that a row's noise does not depend on the batch size."""

    rows: list[torch.Generator]

    def __new__(cls, rows: Sequence[torch.Generator]) -> RowStreams:
        return super().__new__(cls, rows[0].device)

    def __init__(self, rows: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.rows = list(rows)
        self.manual_seed(rows[0].initial_seed())


def randn(
    shape: Sequence[int], rng: torch.Generator, like: Tensor | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Standard normal noise of `shape`, rows first, on `like`'s device and in its dtype.

    Use this instead of `torch.randn` so that per-row streams are respected.
    """
    return drawn(torch.randn, shape, rng, like, dtype)


def randn_like(value: Tensor, rng: torch.Generator) -> Tensor:
    """Standard normal noise of `value`'s shape, on its device and in its dtype: a kernel's noise."""
    return randn(value.shape, rng, like=value)


def rand(
    shape: Sequence[int], rng: torch.Generator, like: Tensor | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Uniform noise in [0, 1) of `shape`, rows first, as `randn` draws its."""
    return drawn(torch.rand, shape, rng, like, dtype)


def drawn(
    draw: Callable[..., Tensor],
    shape: Sequence[int],
    rng: torch.Generator,
    like: Tensor | None,
    dtype: torch.dtype | None,
) -> Tensor:
    """`draw` with the stream, or row by row with the streams of the rows."""
    dtype = dtype if dtype is not None else (like.dtype if like is not None else None)
    device = like.device if like is not None else rng.device
    if device.type == "meta":
        return torch.empty(tuple(shape), device=device, dtype=dtype)
    if isinstance(rng, RowStreams):
        rest = tuple(shape[1:])
        noise = torch.stack(
            [draw(rest, generator=g, dtype=dtype, device=g.device) for g in rng.rows[: shape[0]]]
        )
    else:
        noise = draw(tuple(shape), generator=rng, dtype=dtype, device=rng.device)
    return noise.to(device)
