"""What a recipe costs, without running it: parameters, memory and arithmetic, and whether it fits."""

from __future__ import annotations

import math

from torch import nn

from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.recipe import Recipe
from vaebm_toolkit.training.cost import Estimator
from vaebm_toolkit.training.fits import Room, advice, size
from vaebm_toolkit.training.rundir import STAGES


def describe(recipe: Recipe, room: Room | None = None, devices: int = 1) -> str:
    """Lines for the head of a resolved recipe; with `room`, whether its stages fit and what to do if not.

    Memory and arithmetic are those of each of `devices`.
    """
    estimator = Estimator(recipe, devices)
    parts = estimator.parts(recipe)
    lines = [f"data: {' x '.join(map(str, estimator.shape))}"]
    for name in ("generator", "energy"):
        if parts[name] is not None:
            lines.append(f"{name} {recipe.parts[name].name}: {count(parts[name]):,} parameters")
    if parts["generator"] is not None:
        latent = sum(math.prod(s) for k, s in parts["generator"].groups.items() if k != "x")
        lines.append(f"latent groups: {len(parts['generator'].groups) - 1}, {latent:,} dimensions")
    for stage, table in STAGES.items():
        if table in recipe.parts:
            lines += stage_lines(estimator, stage, table, room)
    return "\n".join(lines)


def stage_lines(estimator: Estimator, stage: str, table: str, room: Room | None) -> list[str]:
    """Memory and arithmetic of one step, from one step on the meta device."""
    recipe = estimator.recipe
    settings = recipe.parts[table].stage
    assert settings is not None, "resolve gives every trainer its stage options"
    try:
        cost = estimator.cost(table)
    except ToolkitError:
        raise
    except Exception as e:  # a stranger's part may not run on the meta device
        return [f"stage {stage}: not estimated ({type(e).__name__}: {e})"]
    length = "no steps or epochs given"
    if settings.steps is not None or settings.epochs is not None:
        length = f"{settings.steps:,} steps" if settings.steps is not None else f"{settings.epochs:,} epochs"
    kept = f", {size(cost.buffer)} kept chains" if cost.buffer else ""
    each = f" on each of {estimator.devices} devices" if estimator.devices > 1 else ""
    precision = {"fp32": "float32", "bf16": "bfloat16"}[recipe.run.precision]
    found = [
        f"stage {stage}: {length} of {settings.batch_size}; "
        f"about {size(cost.memory)} of memory in {precision} "
        f"({size(cost.weights)} weights, gradients and moments, {size(cost.activations)} activations{kept}), "
        f"{cost.flops / 1e9:,.4g} GFLOP per step{each}"
    ]
    return found if room is None else found + advice(estimator, table, cost, room)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
