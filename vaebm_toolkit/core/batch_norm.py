"""Batch normalisation by the statistics of the batch that all ranks have together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vaebm_toolkit.core import ranks

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Normalised(torch.autograd.Function):
    """y = (x − μ) / √(σ² + ε) per channel, by mean and variance over all ranks' rows (Ioffe & Szegedy, 2015).

    torch's SyncBatchNorm is for CUDA alone. Of the batch, only x is kept for the backward pass, and one
    message goes round in each direction, of two numbers per channel.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, C, …), this rank's rows, as many as each other's. Gives y, μ (C,) and biased σ² (C,)."""
        dims, shape = reduced(x)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        var, mean = torch.var_mean(wide, dims, correction=0)
        means, variances = ranks.total(own_row(torch.stack([mean, var]))).unbind(1)
        centre = means.mean(0)
        # the variance of the whole is the mean of the parts', plus that of their means
        var = variances.mean(0) + (means - centre).square().mean(0)
        scale = torch.rsqrt(var + eps)
        y = ((wide - centre.view(shape)) * scale.view(shape)).to(x.dtype)
        ctx.save_for_backward(x, centre, scale)
        ctx.mark_non_differentiable(centre, var)
        return y, centre, var

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        x, mean, scale = ctx.saved_tensors
        dims, shape = reduced(x)
        normal = (x - mean.view(shape)) * scale.view(shape)
        dy_wide = dy.to(normal.dtype)
        parts = torch.stack([dy_wide.mean(dims), (dy_wide * normal).mean(dims)])
        through_mean, through_var = ranks.mean(parts)
        dx = scale.view(shape) * (dy_wide - through_mean.view(shape) - normal * through_var.view(shape))
        return dx.to(x.dtype), None


def reduced(x: Tensor) -> tuple[list[int], list[int]]:
    """The dimensions that statistics are taken over, and the shape of (C,) beside x."""
    return [d for d in range(x.dim()) if d != 1], [1, -1, *[1] * (x.dim() - 2)]


def own_row(value: Tensor) -> Tensor:
    """(…) -> (ranks, …): zero but for this rank's row, so that a sum over the ranks has a row of each."""
    out = value.new_zeros(ranks.world(), *value.shape)
    out[ranks.rank()] = value
    return out


def forward(self: _BatchNorm, x: Tensor) -> Tensor:
    """What `nn.BatchNorm2d.forward` does, with the statistics of all ranks while it goes by the batch."""
    if (not self.training and self.running_mean is not None) or ranks.world() == 1:
        return type(self).forward(self, x)
    y, mean, var = Normalised.apply(x, self.eps)
    if self.training and self.track_running_stats:
        follow(self, mean, var, ranks.world() * x.numel() // x.shape[1])
    if self.weight is not None:
        shape = reduced(x)[1]
        y = torch.addcmul(self.bias.view(shape), y, self.weight.view(shape)).to(y.dtype)
    return y


@torch.no_grad()
def follow(norm: _BatchNorm, mean: Tensor, var: Tensor, count: int) -> None:
    """The running statistics move towards the batch's, the variance's unbiased over `count` values."""
    norm.num_batches_tracked.add_(1)
    step = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean), step)
    norm.running_var.lerp_((var * (count / max(count - 1, 1))).to(norm.running_var), step)


@contextmanager
def synchronised(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, BatchNorm layers in training mode go by the batch of all ranks, as in one process.

    TypeError for layers of a kind that is not torch's own. Nothing changes in a process by itself.
    """
    if ranks.world() == 1:
        yield
        return
    norms = {id(m): m for module in modules for m in module.modules() if isinstance(m, _BatchNorm)}
    with ExitStack() as stack:
        for norm in norms.values():
            if type(norm) not in KINDS:
                raise TypeError(f"{type(norm).__name__} layers go by the batch of one process")
            norm.forward = MethodType(forward, norm)
            stack.callback(delattr, norm, "forward")
        yield
