"""Beginning a run or going on with one; nothing is written until everything is known to fit."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch

from vaebm_toolkit.building import (
    build_buffer,
    build_dataset,
    build_energy,
    build_generator,
    build_metrics,
    build_sampler,
    build_trainer,
)
from vaebm_toolkit.core import Autoencoder, Dataset, Trainer, ranks
from vaebm_toolkit.core.batch_norm import synchronised
from vaebm_toolkit.errors import RecipeError, quoted
from vaebm_toolkit.pipeline import plan
from vaebm_toolkit.recipe import Recipe, Table, resolve
from vaebm_toolkit.registry import Registry
from vaebm_toolkit.trained import load
from vaebm_toolkit.training.device import use_threads
from vaebm_toolkit.training.rundir import STAGES, RunDirectory
from vaebm_toolkit.training.starting import begin_at, starting_trainer


def begin(
    recipe: Recipe,
    registry: Registry,
    out: Path,
    command: list[str],
    generator_from: Path | None = None,
    energy_from: Path | None = None,
    told: Callable[[str], None] = lambda text: None,
) -> tuple[Dataset, RunDirectory]:
    """The data and a new run directory, with what it takes from other runs inside.

    generator_from: a run whose trained generator is used. energy_from: one whose energy is trained further.
    """
    RunDirectory.refuse_taken(out)
    source = networks = energy = trainer = None
    if generator_from is not None:
        source = RunDirectory.open(generator_from, registry)
        networks = source.finished_generator()
        dataset = prepare(recipe, source.path, networks, finished=("pretrain",))
    else:
        dataset = prepare(recipe)
    if energy_from is not None:
        energy = RunDirectory.open(energy_from, registry)
        weights = None if networks is None else networks["generator"]
        with ranks.alone():
            trainer, start = starting_trainer(recipe, dataset, energy, weights)
    with RunDirectory.being_made(out, recipe, command) as run:
        if source is not None and networks is not None:
            run.finish("pretrain", networks, {"from": str(source.path.resolve()), "stopped": None})
        if energy is not None and trainer is not None:
            with ranks.alone():
                moved = begin_at(run, trainer, start)
            what = "its optimiser goes on" if moved else "with a new optimiser"
            told(f"energy of {energy.path} from training step {start.step}, {what}")
    return dataset, run


def go_on(path: Path, registry: Registry) -> tuple[Dataset, RunDirectory]:
    """The data and the directory of a run to continue."""
    run = RunDirectory.open(path, registry)
    return prepare(run.recipe, finished=[stage for stage in STAGES if run.done(stage)]), run


def everywhere(
    make: Callable[[], tuple[Dataset, RunDirectory]] | None, registry: Registry
) -> tuple[Dataset, RunDirectory]:
    """The data and the run that `make` gives, on every rank: rank 0 makes them, the others follow.

    They need no file of the run: its recipe comes from rank 0, and what is trained comes later.
    """
    found = None if make is None or ranks.rank() > 0 else make()
    if found is not None and ranks.world() == 1:
        return found
    path, tables = ranks.from_first(lambda: describe(found))
    if found is not None:
        return found
    recipe = resolve(tables, registry)
    return build_dataset(recipe), RunDirectory(Path(path), recipe)


def describe(found: tuple[Dataset, RunDirectory] | None) -> tuple[str, dict[str, Table]]:
    """Path and recipe of the run of rank 0."""
    assert found is not None, "rank 0 makes the run"
    return str(found[1].path), found[1].recipe.tables()


def prepare(
    recipe: Recipe,
    source: Path | None = None,
    networks: dict[str, Any] | None = None,
    finished: Collection[str] = (),
) -> Dataset:
    """Read the data, and fit all parts together on the meta device, before anything is written.

    `networks` of the run `source` are checked against the recipe's generator. Stages that are
    `finished` need not fit the data: their batches may be larger than it. The metrics are asked whether the
    data have their figures.
    """
    dataset = build_dataset(recipe)
    with torch.device("meta"):
        parts = {
            "dataset": dataset,
            "generator": build_generator(recipe, dataset.shape),
            "energy": build_energy(recipe, dataset.shape),
            "sampler": build_sampler(recipe, "sampler", dataset.bounds),
            "buffer": build_buffer(recipe),
        }
        trained, sampling = parts["sampler"], build_sampler(recipe, "sampling", dataset.bounds)
        if trained is not None and sampling is not None and trained.space != sampling.space:
            raise RecipeError(
                f'sampling: "{recipe.names["sampling"]}" works in {sampling.space} space, but the '
                f"energy is trained for a density in {trained.space} space.",
                f"Use a sampler like the one in training, e.g. --sampling {recipe.names['sampler']}",
            )
        if networks is not None and source is not None and parts["generator"] is None:
            raise RecipeError(
                f"--generator-from {quoted(source)}: the trainer {recipe.names['trainer']} as set here has "
                "no use for a generator.",
                "Leave it out, or let chains start from its samples: --trainer.start generator",
            )
        if networks is not None and source is not None:
            load(parts["generator"], networks, "generator", source, assign=True)
        for stage, table in STAGES.items():
            if table in recipe.parts and stage not in finished:
                check_ranks(build_trainer(recipe, table, plan(recipe, stage, dataset)[1], parts))
        if parts["buffer"] is not None and "train" not in finished:
            parts["buffer"].shard(ranks.rank(), ranks.world())
    if "pretrain" in recipe.parts and isinstance(parts["generator"], Autoencoder):
        parts["generator"].check_data(dataset.train.batch(torch.arange(min(64, len(dataset.train)))))
    use_threads(recipe.run.threads)  # a metric may fit something of its own
    if recipe.evaluate.samples:
        list(build_metrics(recipe.measured, dataset))  # each looks at the data
    return dataset


def check_ranks(trainer: Trainer) -> None:
    """RecipeError unless the networks can be trained on as many ranks as there are."""
    try:
        with synchronised(trainer.players.values()):
            pass
    except TypeError as e:
        raise RecipeError(f"{e}, and here are {ranks.world()}.", "Run it in one process.") from e
