"""Divergence is normal in energy-based training: notice it, say why, go back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from vaebm_toolkit.recipe import HealthOptions

LIMITS = {"loss": "max_loss", "energy_gap": "max_energy_gap", "grad_norm": "max_grad_norm"}


def complaint(metrics: Mapping[str, float], limits: HealthOptions) -> str | None:
    """Why a stage must stop, in words; None while all is well."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            return f"{name} is {value}"
        for suffix, option in LIMITS.items():
            limit = getattr(limits, option)
            if (name == suffix or name.endswith(f"_{suffix}")) and abs(value) > limit:
                return f"|{name}| = {abs(value):.4g} exceeds health.{option} = {limit:g}"
    return None


def non_finite_weights(modules: Mapping[str, nn.Module]) -> str | None:
    """The first network with a weight that is not finite; None if there is none."""
    for name, module in modules.items():
        if not all_finite(module.parameters()):
            return f"{name} has weights that are not finite"
    return None


@torch.no_grad()
def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    checks = [torch.isfinite(t).all() for t in tensors]
    return bool(torch.stack(checks).all()) if checks else True
