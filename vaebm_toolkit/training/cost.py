"""What a training step costs, found by taking one on torch's meta device, which holds no data."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

from vaebm_toolkit.building import (
    build_buffer,
    build_dataset,
    build_energy,
    build_generator,
    build_sampler,
    build_trainer,
)
from vaebm_toolkit.core import Buffer, Horizon, Sampler, SpectralPenalty, State, stream
from vaebm_toolkit.recipe import Recipe
from vaebm_toolkit.training.autocasting import meta_autocast
from vaebm_toolkit.training.metering import Known, Meter

OPTIMISER_COPIES = 2  # Adam and Adamax keep two moments


class Cost(NamedTuple):
    """Of one training step, on one device."""

    weights: int
    """bytes of the networks, and of gradients and moments of those that learn"""
    activations: int
    """bytes, the most that is alive at once besides"""
    flops: int
    """floating-point operations of matrix products and convolutions"""
    buffer: int = 0
    """bytes of chains that are kept between steps"""

    @property
    def memory(self) -> int:
        return self.weights + self.activations + self.buffer


def data_shape(recipe: Recipe) -> tuple[int, ...]:
    """From the options where they decide it, else by opening the data set."""
    known = getattr(recipe.parts["dataset"].options, "data_shape", None)
    return tuple(known) if known is not None else build_dataset(recipe).shape


class Estimator:
    """What stages of a recipe cost on each of `devices`; networks are built once for each of its variants."""

    def __init__(self, recipe: Recipe, devices: int = 1) -> None:
        self.recipe, self.shape, self.devices = recipe, data_shape(recipe), devices
        self.known: Known = {}
        self.built: list[tuple[Any, dict[str, Any]]] = []

    def parts(self, recipe: Recipe) -> dict[str, Any]:
        """generator, energy and sampler on the meta device."""
        asked = {k: recipe.parts.get(k) for k in ("generator", "energy", "sampler")}
        for known, parts in self.built:
            if known == asked:
                return parts
        with torch.device("meta"), Meter(self.known):
            parts = {
                "generator": build_generator(recipe, self.shape),
                "energy": build_energy(recipe, self.shape),
                "sampler": build_sampler(recipe, "sampler", None),
            }
        self.built.append((asked, parts))
        return parts

    def cost(
        self,
        table: str,
        recipe: Recipe | None = None,
        batch_size: int | None = None,
        devices: int | None = None,
    ) -> Cost:
        """Of a step of [pretrain] or [trainer], as the recipe or a variant of it has it, on each device.

        batch_size: of all devices together.
        """
        devices = self.devices if devices is None else devices
        recipe = self.recipe if recipe is None else recipe
        settings = recipe.parts[table].stage
        assert settings is not None, "resolve gives every trainer its stage options"
        size = settings.batch_size if batch_size is None else batch_size
        rows = -(-size // devices)
        return one_step(recipe, table, self.shape, self.parts(recipe), rows, self.known, devices)


class OneOfMany:
    """A sampler whose chain is a single kernel application, and what the others would cost.

    They cost the same arithmetic and no more memory.
    """

    def __init__(self, sampler: Sampler, meter: Meter) -> None:
        self.sampler = copy.copy(sampler)
        self.sampler.steps = min(sampler.steps, 1)
        self.more = 0
        step = sampler.step

        def measured(*given: Any) -> Any:
            before = meter.flops
            out = step(*given)
            self.more += (sampler.steps - 1) * (meter.flops - before)
            return out

        self.sampler.step = measured  # type: ignore[method-assign]


class Noted(Buffer):
    """A buffer that keeps nothing but shape and dtype of what it is given."""

    def __init__(self) -> None:
        self.forms: dict[str, tuple[torch.Size, torch.dtype]] = {}

    def draw(self, fresh: State, step: int, rng: torch.Generator) -> State:
        return fresh

    def push(self, state: State) -> None:
        self.forms = {name: (v.shape, v.dtype) for name, v in state.items()}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def one_step(
    recipe: Recipe,
    table: str,
    shape: tuple[int, ...],
    parts: dict[str, Any],
    batch_size: int,
    known: Known | None = None,
    devices: int = 1,
) -> Cost:
    """What a step costs in the recipe's precision, with `parts` on the meta device.

    devices: among which the buffer is divided; `batch_size` is that of one of them.
    """
    meter = Meter(known)
    chain = None if parts["sampler"] is None else OneOfMany(parts["sampler"], meter)
    noted = Noted() if "buffer" in recipe.parts else None
    bf16 = recipe.run.precision == "bf16"
    x = torch.empty((batch_size, *shape), device="meta")
    with torch.device("meta"):
        available = {**parts, "sampler": None if chain is None else chain.sampler, "buffer": noted}
        with Meter(known):
            trainer = build_trainer(recipe, table, Horizon(1, 1, batch_size), available)
        for part in vars(trainer).values():
            if isinstance(part, SpectralPenalty):
                part.warmup = part.iterations  # a usual step's, not the first one's
        moved = {id(p): p for m in trainer.players.values() for p in m.parameters()}
        meter.weights = list(moved.values())
        with meter, meta_autocast() if bf16 else nullcontext():
            for update in trainer.updates(x, 0, stream(0)):
                update.loss.backward()
    present = list(vars(trainer).values()) + ([] if table == "pretrain" else list(parts.values()))
    networks = [m for m in present if isinstance(m, nn.Module)]
    there = {id(v): v for m in networks for v in (*m.parameters(), *m.buffers())}
    weights = sum(p.nbytes * (2 + OPTIMISER_COPIES) for p in moved.values())
    weights += sum(v.nbytes for key, v in there.items() if key not in moved)
    more = 0 if chain is None else chain.more
    buffer = build_buffer(recipe)
    if buffer is not None and devices > 1:
        buffer = buffer.shard(0, devices)
    return Cost(weights, meter.peak, meter.flops + more, stored(buffer, noted))


def stored(buffer: Buffer | None, noted: Noted | None) -> int:
    """Bytes that the buffer allocates at its first push."""
    if buffer is None or noted is None or not noted.forms:
        return 0
    with Meter() as meter:
        buffer.push({k: torch.empty(s, dtype=d, device="meta") for k, (s, d) in noted.forms.items()})
        return meter.live
