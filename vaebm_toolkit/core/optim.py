"""Optimisation details of the paper: the elementwise clip, schedules, a moving average."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
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
            moving = [p for p in group["params"] if p.grad is not None]
            clip_by_moment(moving, self.state, group["betas"][1], bool(group["fused"]))
        super().step()
        return loss


@torch.no_grad()
def clip_by_moment(
    parameters: list[nn.Parameter], state: Mapping[nn.Parameter, Any], beta2: float, fused: bool = False
) -> None:
    """Clip gradients to ±(3·√v̂ + 0.1), v̂ = v / (1 − β₂ᵗ) after t steps; parameters at t = 0 are left.

    A fused Adam counts steps on the device: its counts are not asked for their values.
    """
    moving = [p for p in parameters if state.get(p)]
    if not moving:
        return
    correction: list[Any]
    if fused:
        log = math.log(beta2) if beta2 > 0 else -math.inf
        correction = [-torch.expm1(log * state[p]["step"]) for p in moving]
    else:
        correction = [1 - beta2 ** float(state[p]["step"]) for p in moving]
    bound = torch._foreach_div([state[p]["exp_avg_sq"] for p in moving], correction)
    torch._foreach_sqrt_(bound)
    torch._foreach_mul_(bound, 3.0)
    torch._foreach_add_(bound, 0.1)
    gradients = [p.grad for p in moving]
    torch._foreach_minimum_(gradients, bound)
    torch._foreach_maximum_(gradients, torch._foreach_neg(bound))


def adam(parameters: Iterable[nn.Parameter], kind: type[Adam] = Adam, **settings: Any) -> Adam:
    """Adam, or a kind of it: fused where all parameters are on CUDA, whatever wrote the state it loads."""
    parameters = list(parameters)
    fused = bool(parameters) and all(p.is_cuda and p.is_floating_point() for p in parameters)
    optimizer = kind(parameters, fused=True if fused else None, **settings)
    optimizer.register_load_state_dict_pre_hook(fused_as_it_is)
    return optimizer


def fused_as_it_is(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """The state with the optimiser's own `fused`, and for one that is not, step counts on the CPU."""
    groups, values = [], dict(state["state"])
    for own, group in zip(optimizer.param_groups, state["param_groups"], strict=False):
        groups.append({**group, "fused": own["fused"]})
        for i in group["params"]:
            if not own["fused"] and i in values and "step" in values[i]:
                values[i] = {**values[i], "step": torch.as_tensor(values[i]["step"]).cpu()}
    groups += state["param_groups"][len(groups) :]  # too many: torch says so
    return {**state, "state": values, "param_groups": groups}


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
