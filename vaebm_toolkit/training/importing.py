"""From a checkpoint of somebody else's code to a run directory.

Everything is compared on the meta device before anything is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.core import Imported, stream
from vaebm_toolkit.errors import RecipeError, RunError, ToolkitError, quoted
from vaebm_toolkit.options import parse
from vaebm_toolkit.recipe import Recipe
from vaebm_toolkit.registry import Registered, Registry, load_factory
from vaebm_toolkit.training.comparing import compare
from vaebm_toolkit.training.files import write_json
from vaebm_toolkit.training.health import all_finite
from vaebm_toolkit.training.released import printable, read_checkpoint, sha256
from vaebm_toolkit.training.rundir import DATA, STAGES, RunDirectory, read_json
from vaebm_toolkit.training.starting import BUILD, staged, with_moments

NETWORKS = {"generator": "pretrain", "energy": "train"}  # network -> the stage that leaves it


class Plan(NamedTuple):
    """An import that is known to fit."""

    imported: Imported
    recipe: Recipe
    data: dict[str, Any]
    """data.json"""
    about: dict[str, Any]
    """Where the networks come from, for done.json."""
    beside: RunDirectory | None
    """The run whose generator an imported energy corrects."""


def plan_import(
    registry: Registry, registered: Registered, options: Any, file: Path, beside: RunDirectory | None = None
) -> Plan:
    """Read the file, and fit what is in it to its recipe. Nothing is written."""
    checkpoint = read_checkpoint(file)
    imported = call(registry, registered, options, checkpoint, file)
    tables = tables_for(imported, registered, file, beside)
    try:
        recipe = recipes.resolve(tables, registry)
    except RecipeError as e:
        raise RunError(f"{file} does not make a recipe: {e.message}", e.fix) from e
    data = {"shape": list(imported.shape), "bounds": imported.bounds, "train": None, "test": None}
    if beside is not None:
        data = {**read_json(beside.path / DATA), "train": None, "test": None}
    for name, tensors in imported.networks.items():
        if name not in NETWORKS or not {name, STAGES[NETWORKS[name]]} <= set(recipe.parts):
            raise RunError(
                f'The importer "{registered.component.name}" of {registered.distribution} finds a network '
                f'"{name}", but its recipe has no such part or no trainer for it.',
                f"Networks are: {', '.join(NETWORKS)}.",
            )
        with torch.device("meta"):
            module = BUILD[name](recipe, tuple(data["shape"]))
        assert module is not None
        compare(
            module,
            tensors,
            f"{file} does not hold the {name} that it describes",
            "The file is incomplete, or it is of another network than it says.",
        )
    about = {
        "step": imported.step, "steps": imported.step, "stopped": None, "diverged": False,
        "from": str(file.resolve()), "sha256": sha256(file), "importer": registered.component.name,
        "plugin": f"{registered.distribution} {registered.version}".strip(), "notes": list(imported.notes),
    }  # fmt: skip
    return Plan(imported, recipe, data, about, beside)


def call(registry: Registry, registered: Registered, options: Any, checkpoint: Any, file: Path) -> Imported:
    """The importer's answer. Where it refuses, the importers that know the file are named."""
    name = registered.component.name
    try:
        answer = load_factory(registered)(options, checkpoint=checkpoint, file=file)
    except ToolkitError as e:
        others = [
            r for r in registry.of_kind("importer") if r is not registered and knows(r, checkpoint, file)
        ]
        if not others:
            raise
        other = others[0].component
        raise RunError(
            f'{file} is for the importer "{other.name}" ({other.summary}), not "{name}".',
            f"Import it: vaebm import {other.name} {quoted(file)}",
        ) from e
    except Exception as e:
        raise RunError(
            f'The importer "{name}" of {registered.distribution} fails on {file}: '
            f"{type(e).__name__}: {printable(str(e))}.",
            "The file is not what it expects; list the importers: vaebm plugins list importer",
        ) from e
    if not isinstance(answer, Imported):
        raise RunError(
            f'The importer "{name}" of {registered.distribution} returned {type(answer).__name__}.',
            "It must return vaebm_toolkit.core.Imported.",
        )
    return answer


def knows(registered: Registered, checkpoint: Any, file: Path) -> bool:
    """Whether this importer takes the file for one of its own."""
    try:
        options = parse(registered.component.options, {}, "import")
        load_factory(registered)(options, checkpoint=checkpoint, file=file)
    except Exception:
        return False
    return True


def tables_for(
    imported: Imported, registered: Registered, file: Path, beside: RunDirectory | None
) -> Mapping[str, recipes.Table]:
    """The recipe's tables: the importer's, or those of the generator's run with an energy stage on top."""
    if beside is None:
        return imported.tables
    if imported.paired is None:
        raise RunError(
            f"What vaebm import {registered.component.name} reads corrects no generator.",
            f"Leave --generator-from out: vaebm import {registered.component.name} {quoted(file)}",
        )
    base = {t: v for t, v in beside.recipe.tables().items() if t not in recipes.SECOND_STAGE}
    published = recipes.read(imported.published) if imported.published else {}
    stage = {t: v for t, v in published.items() if t in recipes.SECOND_STAGE}
    return recipes.merge({**base, **stage}, imported.paired)


def write_import(plan: Plan, out: Path, command: list[str], device: torch.device) -> RunDirectory:
    """The run directory, complete or not there at all.

    Each stage ends as after training: trainers finish (BatchNorm is re-calibrated where that is asked
    for), and an energy's optimiser state becomes a checkpoint that --energy-from continues from.
    """
    imported, recipe = plan.imported, plan.recipe
    with RunDirectory.being_made(out, recipe, command) as run:
        write_json(run.path / DATA, plan.data)
        if plan.beside is not None:
            about = {"from": str(plan.beside.path.resolve()), "stopped": None}
            run.finish("pretrain", plan.beside.finished_generator(), about)
        for name, tensors in imported.networks.items():
            stage = NETWORKS[name]
            trainer = staged(recipe, stage, plan.data, {name: tensors}, device)
            moved = with_moments(trainer, name, imported.moments) if name == "energy" else False
            trainer.finish(stream(recipe.run.seed, stage, "finish", device=device))
            if moved:
                run.checkpoints(stage).save(imported.step, trainer.state_dict())
            if not all_finite(trainer.networks()[name].state_dict().values()):
                raise RunError(
                    f"Re-calibrating BatchNorm gives statistics of the {name} that are not finite.",
                    "Import it without, with fewer passes, or with a lower temperature.",
                )
            left = {n: module.state_dict() for n, module in trainer.networks().items()}
            run.finish(stage, left, {**plan.about, "optimizer": moved})
    return run


def size(tensors: Mapping[str, Tensor]) -> int:
    """Values in a network: its weights and statistics."""
    return sum(math.prod(t.shape) for t in tensors.values())
