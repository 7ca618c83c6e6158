"""A trainer under test: the small parts that fill its slots, and the loop that steps its losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.core import Horizon, Trainer, Update
from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.options import SlotInfo, fields, slots
from vaebm_toolkit.registry import Registered, installed, load_factory
from vaebm_toolkit.testing.claims import Skip
from vaebm_toolkit.testing.measure import no_global_randomness
from vaebm_toolkit.testing.subject import Shape, Subject, settings
from vaebm_toolkit.testing.tiny import TinyDataset
from vaebm_toolkit.testing.tiny_networks import TinyEnergy, TinyGenerator

STEPS, BATCH = 6, 16
SMALL = {"buffer": "replay"}
"""What fills a slot, whatever its usual part is; networks and data sets are small ones of this package."""


class TrainerSubject(Subject):
    """A trainer with small parts in its slots, on small data."""

    @property
    def data_shape(self) -> Shape:
        return self.shape or (2,)

    def part(self, slot: SlotInfo) -> Any:
        """A small part for a slot; None where it is usually left empty."""
        kind, default = slot.kind, slot.default
        if kind == "dataset":
            return TinyDataset(self.data_shape, self.seed)
        if default == "none" and slot.optional:
            return None
        if kind in ("generator", "energy"):
            return (TinyGenerator if kind == "generator" else TinyEnergy)(self.data_shape)
        try:
            registered: Registered = installed().find(kind, SMALL.get(kind, default))
        except RecipeError as e:
            raise Skip(f"Its slot for a {kind} cannot be filled: {e.message}") from e
        component = registered.component
        table = dict(component.example)
        if kind == "sampler":
            table |= {"steps": 2} if "steps" in fields(component.options) else {}
        options = component.options(**table) if component.options else None
        return load_factory(registered)(options, **({"bounds": None} if kind == "sampler" else {}))

    def parts(self, table: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """New parts for all slots, the same every time; None where the options have no use for one."""
        options, chosen = self.component.options, self.table if table is None else table
        with settings(torch.float32, self.seed):
            return {
                name: self.part(slot) if slot.used(options or object, chosen) else None
                for name, slot in slots(options).items()
            }

    def trainer(self, parts: dict[str, Any] | None = None, table: Mapping[str, Any] | None = None) -> Trainer:
        horizon = Horizon(STEPS, 3, BATCH, self.seed)
        given = self.parts(table) if parts is None else parts
        built: Trainer = self.build(table, dtype=torch.float32, horizon=horizon, **given)
        return built

    def begun(self, parts: dict[str, Any] | None = None, table: Mapping[str, Any] | None = None) -> Trainer:
        """A new trainer after `prepare`, as a stage begins."""
        trainer = self.trainer(parts, table)
        with settings(torch.float32, self.seed):
            trainer.prepare((self.batch(k) for k in range(3)), self.rng("prepare"))
        return trainer

    def batch(self, step: int) -> Tensor:
        """Of one class at first and of all later, so that gradients change in size from step to step."""
        i = torch.arange(step * BATCH, (step + 1) * BATCH)
        return TinyDataset(self.data_shape, self.seed).train.batch(i - i % 4 if step < 2 else i)

    def steps(self, trainer: Trainer, first: int, last: int) -> Iterator[tuple[int, Update]]:
        """The updates of steps first, …, last − 1; each is stepped when the next one is asked for."""
        with settings(torch.float32, self.seed), no_global_randomness("a step"):
            optimizers = trainer.optimizers()
            for step in range(first, last):
                for update in trainer.updates(self.batch(step), step, self.rng("noise", step)):
                    yield step, update
                    optimizer = optimizers[update.player]
                    optimizer.zero_grad(set_to_none=True)
                    update.loss.backward()
                    optimizer.step()
