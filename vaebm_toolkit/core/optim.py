"""Optimisation details of the paper: the elementwise clip, schedules, a moving average."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, Optimizer


class MomentClippedAdam(Adam):
    """Adam that first clips each gradient element to ±(3·√v̂ + 0.1).

    v̂ is the bias-corrected second moment before this step; the first step is not clipped,
    and weight decay is added after the clip (igebm-pytorch; VAEBM's released code).
    """

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            clip_by_moment([p for p in group["params"] if p.grad is not None], self.state, group["betas"][1])
        super().step()
        return loss


@torch.no_grad()
def clip_by_moment(parameters: list[nn.Parameter], state: Mapping[nn.Parameter, Any], beta2: float) -> None:
    """Clip gradients to ±(3·√v̂ + 0.1), v̂ = v / (1 − β₂ᵗ) after t steps; parameters at t = 0 are left."""
    moving = [p for p in parameters if state.get(p)]
    if not moving:
        return
    correction = [1 - beta2 ** float(state[p]["step"]) for p in moving]
    bound = torch._foreach_div([state[p]["exp_avg_sq"] for p in moving], correction)
    torch._foreach_sqrt_(bound)
    torch._foreach_mul_(bound, 3.0)
    torch._foreach_add_(bound, 0.1)
    gradients = [p.grad for p in moving]
    torch._foreach_minimum_(gradients, bound)
    torch._foreach_maximum_(gradients, torch._foreach_neg(bound))


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """The learning rate of every group of parameters."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def warmup_cosine(step: int, *, peak: float, floor: float, warmup: int, total: int) -> float:
    """Linear from 0 over `warmup` steps, then a half cosine from `peak` to `floor` at `total`."""
    if step < warmup:
        return peak * step / warmup
    progress = min((step - warmup) / max(total - warmup, 1), 1.0)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """average ← decay · average + (1 − decay) · module; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - decay)
    for a, m in zip(average.buffers(), module.buffers(), strict=True):
        a.copy_(m)
