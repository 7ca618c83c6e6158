"""The processes that train together, one per device: torch's process group as this package sees it.

Every function here is the identity in a process by itself, at no cost. Losses are means over a rank's
own rows, and each rank has as many rows as the others, so the mean of the ranks' gradients is the
gradient of the loss of the whole batch. The training loop takes that mean by hand, after
`loss.backward()` and before the optimiser steps. A wrapper like DistributedDataParallel would average
within a network's `forward` alone; trainers also call `generator.elbo`, and chains differentiate E in
their inputs through the same weights. So every trainer works on several ranks as it is, unless its loss
has a statistic of the whole batch that is not a mean over rows: that is what `mean` and `total` are for.

All ranks must call the same of these functions in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET = 25 * 2**20
"""bytes of gradient that are averaged at once"""

T = TypeVar("T")
_alone = 0  # how many blocks of `alone` this process is in


class LostRank(RuntimeError):
    """Another process of the group is gone, or does not answer."""


def world() -> int:
    """How many processes train together."""
    if _alone or not dist.is_available() or not dist.is_initialized():
        return 1
    return dist.get_world_size()


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if world() > 1 else 0


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process is by itself: for what every rank computes whole, and equally."""
    global _alone
    _alone += 1
    try:
        yield
    finally:
        _alone -= 1


def share(n: int) -> slice:
    """This rank's contiguous rows of a batch of n. ValueError unless each rank gets as many."""
    if n % world():
        raise ValueError(f"{n} rows cannot be shared evenly by {world()} ranks")
    rows = n // world()
    return slice(rank() * rows, (rank() + 1) * rows)


def path() -> tuple[str | int, ...]:
    """What this rank's random streams have in their path besides: ("rank", r); nothing in one process."""
    return ("rank", rank()) if world() > 1 else ()


@contextmanager
def telling_lost_ranks() -> Iterator[None]:
    """A collective that fails means that another rank has ended: LostRank."""
    try:
        yield
    except RuntimeError as e:
        raise LostRank(str(e).splitlines()[0] if str(e) else type(e).__name__) from e


def total(x: Tensor) -> Tensor:
    """Sum over the ranks, on each of them; without gradient. x: any shape, the same everywhere."""
    if world() == 1:
        return x
    out = x.detach().clone().contiguous()
    with telling_lost_ranks():
        dist.all_reduce(out)
    return out


def mean(x: Tensor) -> Tensor:
    """Mean over the ranks, on each of them; without gradient."""
    return x if world() == 1 else total(x) / world()


def any_of(flag: bool) -> bool:
    """Whether it is so on any rank. A message between hosts: no device is waited for."""
    if world() == 1:
        return flag
    return bool(total(torch.tensor([flag], dtype=torch.int32)).item())


def gathered(value: T) -> list[T]:
    """The value of every rank, in their order, on each of them. Tensors come on the CPU."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    with telling_lost_ranks():
        dist.all_gather_object(found, on_cpu(value))
    return found


def collected(value: T) -> list[T] | None:
    """The value of every rank, in their order, on rank 0; None elsewhere. Tensors come on the CPU."""
    if world() == 1:
        return [value]
    found: list[Any] | None = [None] * world() if rank() == 0 else None
    with telling_lost_ranks():
        dist.gather_object(on_cpu(value), found)
    return found


def from_first(make: Callable[[], T]) -> T:
    """What `make` gives on rank 0, on every rank; it is called nowhere else. Tensors come on the CPU."""
    if world() == 1:
        return make()
    held: list[Any] = [on_cpu(make()) if rank() == 0 else None]
    with telling_lost_ranks():
        dist.broadcast_object_list(held, src=0)
    return held[0]  # type: ignore[no-any-return]


def on_cpu(value: Any) -> Any:
    """The value with its tensors on the CPU: another rank need not see this one's device."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if type(value) is dict:
        return {k: on_cpu(v) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(on_cpu(v) for v in value)
    return value


@torch.no_grad()
def share_weights(modules: Iterable[nn.Module]) -> None:
    """Parameters and buffers become those of rank 0."""
    if world() == 1:
        return
    for module in modules:
        for value in (*module.parameters(), *module.buffers()):
            held = value.detach().contiguous()
            with telling_lost_ranks():
                dist.broadcast(held, src=0)
            value.copy_(held)


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Each gradient becomes its mean over the ranks; a missing one counts as 0, unless all miss it."""
    if world() == 1:
        return
    weights = list(parameters)
    present = total(torch.tensor([p.grad is not None for p in weights], dtype=torch.int32)).tolist()
    grads = [
        torch.zeros_like(p) if p.grad is None else p.grad
        for p, anywhere in zip(weights, present, strict=True)
        if anywhere
    ]
    for p, grad in zip((p for p, n in zip(weights, present, strict=True) if n), grads, strict=True):
        p.grad = grad
    for bucket in buckets(grads):
        flat = mean(torch.cat([g.reshape(-1) for g in bucket]))
        for g, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            g.copy_(part.view(g.shape))


def buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, in lists of one dtype and device and of about `BUCKET` bytes."""
    open_: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for t in tensors:
        held = open_.setdefault((t.dtype, t.device), [])
        held.append(t)
        if sum(v.numel() * v.element_size() for v in held) >= BUCKET:
            yield open_.pop((t.dtype, t.device))
    yield from open_.values()
