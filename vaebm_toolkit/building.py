"""From a resolved recipe to objects: the first place where torch appears."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vaebm_toolkit.core.interfaces import (
    Autoencoder,
    Buffer,
    Dataset,
    EnergyFunction,
    Features,
    Generator,
    Horizon,
    Metric,
    Sampler,
    Trainer,
)
from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.options import parse, slots
from vaebm_toolkit.recipe import EvaluateOptions, Part, Recipe
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


def build_features(registry: Registry, name: str, dataset: Dataset) -> Features:
    """A feature space for the data set; what it has to learn it learns when it is first used."""
    registered = registry.find("features", name)
    options = parse(registered.component.options, {}, f"features {name}")
    features: Features = construct(Part(registered, options), dataset=dataset)
    return features


def build_metrics(
    registry: Registry, options: EvaluateOptions, dataset: Dataset
) -> Iterator[tuple[str, str, Metric]]:
    """(name, feature space, metric) for each metric, in each of its feature spaces; "" where it has none.

    They see `options.split` of the data as the reference.
    """
    for name in options.metrics:
        registered = registry.find("metric", name)
        parsed = parse(registered.component.options, {}, f"metric {name}")
        spaces = {
            n: s.default for n, s in slots(registered.component.options).items() if s.kind == "features"
        }
        if not spaces:
            yield name, "", construct(Part(registered, parsed))
        for features in options.features if spaces else ():
            given = {slot: build_features(registry, features, dataset) for slot in spaces}
            yield name, features, construct(Part(registered, parsed), **given)
