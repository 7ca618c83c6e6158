"""Optimisation details of the paper: the elementwise clip, schedules, a moving average."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, Optimizer


class MomentClippedAdam(Adam):
    """Adam that first clips each gradient element to ±(3·√v̂ + 0.1).

    v̂ is the bias-corrected second moment before this step; the first step is not clipped,
    and weight decay is added after the clip (igebm-pytorch; VAEBM's released code).
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        for group in self.param_groups:
            beta2 = group["betas"][1]
            for p in group["params"]:
                state = self.state.get(p)
                if p.grad is None or not state:
                    continue
                correction = 1 - beta2 ** float(state["step"])
                bound = 3 * (state["exp_avg_sq"] / correction).sqrt() + 0.1
                p.grad.clamp_(-bound, bound)
        return super().step(closure)


def set_lr(optimizer: Optimizer, lr: float) -> None:
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
    for a, m in zip(average.parameters(), module.parameters(), strict=True):
        a.lerp_(m, 1 - decay)
    for a, m in zip(average.buffers(), module.buffers(), strict=True):
        a.copy_(m)
