"""From a resolved recipe to objects: the first place where torch appears."""

from __future__ import annotations

from typing import Any

from vaebm_toolkit.core.interfaces import (
    Autoencoder,
    Buffer,
    Dataset,
    EnergyFunction,
    Generator,
    Horizon,
    Metric,
    Sampler,
    Trainer,
)
from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.options import parse, slots
from vaebm_toolkit.recipe import Part, Recipe
from vaebm_toolkit.registry import Registry, load_factory

Shape = tuple[int, ...]
Bounds = tuple[float, float] | None


def construct(part: Part, **given: Any) -> Any:
    """Call a part's factory: `factory(options, **given)`."""
    return load_factory(part.registered)(part.options, **given)


def build_dataset(recipe: Recipe) -> Dataset:
    dataset: Dataset = construct(recipe.parts["dataset"])
    return dataset


def build_generator(recipe: Recipe, shape: Shape) -> Generator | None:
    """A generator for data of `shape`, or None where the recipe has none."""
    if "generator" not in recipe.parts:
        return None
    generator: Generator = construct(recipe.parts["generator"], shape=shape)
    return generator


def build_energy(recipe: Recipe, shape: Shape) -> EnergyFunction | None:
    if "energy" not in recipe.parts:
        return None
    energy: EnergyFunction = construct(recipe.parts["energy"], shape=shape)
    return energy


def build_sampler(recipe: Recipe, table: str, bounds: Bounds) -> Sampler | None:
    """The sampler of `table`: "sampler" in training, "sampling" at test time."""
    if table not in recipe.parts:
        return None
    sampler: Sampler = construct(recipe.parts[table], bounds=bounds)
    return sampler


def build_buffer(recipe: Recipe) -> Buffer | None:
    if "buffer" not in recipe.parts:
        return None
    buffer: Buffer = construct(recipe.parts["buffer"])
    return buffer


def build_trainer(recipe: Recipe, table: str, horizon: Horizon, available: dict[str, Any]) -> Trainer:
    """The trainer of "pretrain" or "trainer", with the parts its slots ask for."""
    part = recipe.parts[table]
    wanted = slots(part.registered.component.options)
    given = {name: available.get(slot.kind) for name, slot in wanted.items()}
    if table == "pretrain" and not isinstance(given.get("generator"), Autoencoder):
        name = recipe.parts["generator"].name
        raise RecipeError(
            f'generator "{name}" has no ELBO, so the stage [pretrain] cannot train it.',
            "Give a trained one with --generator-from RUN, or choose another --generator.",
        )
    trainer: Trainer = construct(part, horizon=horizon, **given)
    return trainer


def build_metric(registry: Registry, name: str, table: dict[str, Any] | None = None) -> Metric:
    registered = registry.find("metric", name)
    options = parse(registered.component.options, table or {}, f"metric {name}")
    metric: Metric = construct(Part(registered, options))
    return metric
