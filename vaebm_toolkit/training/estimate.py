"""What a recipe costs, without running it: parameters, memory and arithmetic per step.

Networks are built on torch's meta device, which knows shapes and holds no data.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from vaebm_toolkit.building import (
    build_dataset,
    build_energy,
    build_generator,
    build_sampler,
    build_trainer,
)
from vaebm_toolkit.core import Horizon, Sampler, SpectralPenalty, stream
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.recipe import Recipe
from vaebm_toolkit.training.rundir import STAGES

OPTIMISER_COPIES = 2  # Adam and Adamax keep two moments


class SavedBytes:
    """Peak size of what autograd keeps for the backward pass, within the block."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self.held: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Any:
        meter = self

        class Held:
            """Counts a storage once, for as long as some graph node holds it."""

            def __init__(self) -> None:
                storage = tensor.untyped_storage()
                self.tensor, self.key = tensor, storage._cdata
                if meter.held.get(self.key, 0) == 0:
                    meter.now += storage.nbytes()
                    meter.peak = max(meter.peak, meter.now)
                meter.held[self.key] = meter.held.get(self.key, 0) + 1

            def __del__(self) -> None:
                meter.held[self.key] -= 1
                if meter.held[self.key] == 0:
                    meter.now -= self.tensor.untyped_storage().nbytes()

        return Held()

    def __enter__(self) -> SavedBytes:
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, lambda held: held.tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.hooks.__exit__(*error)


class Flops(TorchDispatchMode):
    """Floating-point operations of matrix products and convolutions within the block."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution_backward.default:
            # torch's own count takes a grouped convolution's weight gradient for a dense one
            gradient, _, weight, *_, wanted = args
            self.total += 2 * gradient.numel() * weight[0].numel() * (wanted[0] + wanted[1])
            return out
        counter = flop_registry.get(func._overloadpacket)
        if counter is not None:
            self.total += counter(*args, **(kwargs or {}), out_val=out)
        return out


def data_shape(recipe: Recipe) -> tuple[int, ...]:
    """From the options where they decide it, else by opening the data set."""
    known = getattr(recipe.parts["dataset"].options, "data_shape", None)
    return tuple(known) if known is not None else build_dataset(recipe).shape


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def describe(recipe: Recipe) -> str:
    """Lines for the head of a resolved recipe."""
    shape = data_shape(recipe)
    lines = [f"data: {' x '.join(map(str, shape))}"]
    with torch.device("meta"):
        parts: dict[str, Any] = {
            "generator": build_generator(recipe, shape),
            "energy": build_energy(recipe, shape),
            "sampler": build_sampler(recipe, "sampler", None),
            "buffer": None,
        }
    for name in ("generator", "energy"):
        if parts[name] is not None:
            lines.append(f"{name} {recipe.parts[name].name}: {count(parts[name]):,} parameters")
    if parts["generator"] is not None:
        latent = sum(math.prod(s) for k, s in parts["generator"].groups.items() if k != "x")
        lines.append(f"latent groups: {len(parts['generator'].groups) - 1}, {latent:,} dimensions")
    for stage, table in STAGES.items():
        if table in recipe.parts:
            lines.append(f"stage {stage}: {stage_cost(recipe, table, shape, parts)}")
    return "\n".join(lines)


def stage_cost(recipe: Recipe, table: str, shape: tuple[int, ...], parts: dict[str, Any]) -> str:
    """Memory and arithmetic of one step, from one step on the meta device."""
    settings = recipe.parts[table].stage
    assert settings is not None, "resolve gives every trainer its stage options"
    try:
        weights, saved, flops = one_step(recipe, table, shape, parts, settings.batch_size)
    except ToolkitError:
        raise
    except Exception as e:  # a stranger's part may not run on the meta device
        return f"not estimated ({type(e).__name__}: {e})"
    length = "no steps or epochs given"
    if settings.steps is not None or settings.epochs is not None:
        length = f"{settings.steps:,} steps" if settings.steps is not None else f"{settings.epochs:,} epochs"
    return (
        f"{length} of {settings.batch_size}; about {size(weights + saved)} of memory in float32 "
        f"({size(weights)} weights, gradients and moments, {size(saved)} activations), "
        f"{flops / 1e9:,.4g} GFLOP per step"
    )


class OneOfMany:
    """A sampler whose chain is a single kernel application, and what the others would cost.

    They cost the same arithmetic and no more memory.
    """

    def __init__(self, sampler: Sampler, flops: Flops) -> None:
        self.sampler = copy.copy(sampler)
        self.sampler.steps = min(sampler.steps, 1)
        self.more = 0
        step = sampler.step

        def measured(*given: Any) -> Any:
            before = flops.total
            out = step(*given)
            self.more += (sampler.steps - 1) * (flops.total - before)
            return out

        self.sampler.step = measured  # type: ignore[method-assign]


def one_step(
    recipe: Recipe, table: str, shape: tuple[int, ...], parts: dict[str, Any], batch_size: int
) -> tuple[int, int, int]:
    """(bytes of weights and optimiser, peak bytes of activations, floating-point operations)."""
    flops = Flops()
    chain = None if parts["sampler"] is None else OneOfMany(parts["sampler"], flops)
    x = torch.empty((batch_size, *shape), device="meta")
    with torch.device("meta"):
        available = {**parts, "sampler": None if chain is None else chain.sampler}
        trainer = build_trainer(recipe, table, Horizon(1, 1, batch_size), available)
        for part in vars(trainer).values():
            if isinstance(part, SpectralPenalty):
                part.warmup = part.iterations  # a usual step's, not the first one's
        with SavedBytes() as saved, flops:
            for update in trainer.updates(x, 0, stream(0)):
                update.loss.backward()
    moved = {id(p): p for m in trainer.players.values() for p in m.parameters()}
    fixed = {
        id(p): p
        for m in parts.values() if isinstance(m, nn.Module)
        for p in m.parameters() if id(p) not in moved
    }  # fmt: skip
    if table == "pretrain":
        fixed = {}
    weights = sum(p.nbytes * (2 + OPTIMISER_COPIES) for p in moved.values())
    weights += sum(p.nbytes for p in fixed.values())
    return weights, saved.peak, flops.total + (0 if chain is None else chain.more)


def size(n: float) -> str:
    """
    >>> size(3.2e9), size(5.1e6)
    ('3.0 GiB', '4.9 MiB')
    """
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB"
