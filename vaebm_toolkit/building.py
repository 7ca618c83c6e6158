"""From a resolved recipe to objects: the first place where torch appears."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vaebm_toolkit.core.interfaces import (
    Autoencoder,
    Bounds,
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
from vaebm_toolkit.errors import RecipeError, ToolkitError
from vaebm_toolkit.options import slots
from vaebm_toolkit.recipe import Part, Recipe
from vaebm_toolkit.registry import load_factory

Shape = tuple[int, ...]


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


def build_metrics(
    measured: Sequence[Part], dataset: Dataset, reference: Dataset | None = None
) -> Iterator[tuple[str, str, Metric]]:
    """(name, feature space, metric) for each metric, in each of the feature spaces, "" where it uses none.

    measured: `Recipe.measured`, or parts like it. What a feature space has to learn it learns when it is
    first used; metrics share it. Raises what `Metric.check` says of the reference, by default the data set;
    of a metric in several spaces only if all are refused, as an inception score is without classes.
    """
    against = dataset if reference is None else reference
    spaces: dict[str, Features] = {
        p.name: construct(p, dataset=dataset) for p in measured if p.registered.component.kind == "features"
    }
    for p in measured:
        if p.registered.component.kind != "metric":
            continue
        wanted = [n for n, s in slots(p.registered.component.options).items() if s.kind == "features"]
        refused, found = None, 0
        for name, space in spaces.items() if wanted else [("", None)]:
            metric: Metric = construct(p, **dict.fromkeys(wanted, space))
            try:
                metric.check(against)
            except ToolkitError as e:
                refused = refused or e
                continue
            found += 1
            yield p.name, name, metric
        if refused is not None and not found:
            raise refused
