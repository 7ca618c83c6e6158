"""Where a stage starts when it does not start afresh: another run's energy and its optimiser's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam

from vaebm_toolkit.building import build_buffer, build_energy, build_generator, build_sampler, build_trainer
from vaebm_toolkit.core import Dataset, Trainer, adam_moments
from vaebm_toolkit.errors import RunError, quoted
from vaebm_toolkit.recipe import Recipe
from vaebm_toolkit.training.checkpoint import read_state
from vaebm_toolkit.training.comparing import compare
from vaebm_toolkit.training.files import write_json
from vaebm_toolkit.training.fit import horizon_of
from vaebm_toolkit.training.rundir import STAGES, RunDirectory

Moments = Mapping[str, Mapping[str, Tensor]]


BUILD = {"generator": build_generator, "energy": build_energy}


class Start(NamedTuple):
    """An energy to go on from."""

    weights: dict[str, Tensor]
    moments: Moments
    """Adam's state by parameter name; {} where there is none"""
    step: int
    """training steps behind it"""
    source: str


def energy_of(run: RunDirectory, energy: nn.Module) -> Start:
    """The energy that `run` ended with. `energy` is one like it, for its parameters' names.

    With an optimiser state that fits, the weights are those it belongs to; a moving average
    that is kept for sampling is not taken then.
    """
    done = run.done("train")
    if done is None:
        raise RunError(
            f"{run.path} has not finished an energy stage.",
            f"Finish it: vaebm run --resume {quoted(run.path)}",
        )
    kept = run.networks("train").get("energy")
    if kept is None:
        raise RunError(f"{run.path} has no energy.", "Choose another run.")
    step = int(done.get("step") or 0)
    stored = newest(run)
    if stored is not None:
        moments = adam_moments(stored["optimizers"]["energy"], dict(energy.named_parameters()))
        if moments is not None:
            return Start(stored["players"]["energy"], moments, step, str(run.path.resolve()))
    return Start(kept, {}, step, str(run.path.resolve()))


def newest(run: RunDirectory) -> Any | None:
    """The state in the energy stage's newest checkpoint, or None; the run is left as it is."""
    checkpoints = run.checkpoints("train")
    for step in reversed(checkpoints.steps()):
        try:
            state, _ = read_state(checkpoints.path(step))
        except RunError:
            continue
        whole = isinstance(state, dict) and all(
            "energy" in state.get(k, {}) for k in ("players", "optimizers")
        )
        return state if whole else None
    return None


def with_moments(trainer: Trainer, player: str, moments: Moments) -> bool:
    """Give the player's optimiser this state; it keeps its settings. False without state, or for no Adam."""
    optimizer = trainer.optimizers().get(player)
    if not moments or not isinstance(optimizer, Adam):
        return False
    names = {id(p): name for name, p in trainer.players[player].named_parameters()}
    state, index = {}, 0
    groups = optimizer.state_dict()["param_groups"]
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            found = moments.get(names.get(id(parameter), ""))
            if found is not None:
                state[index] = {key: value.clone() for key, value in found.items()}
            index += 1
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return True


def staged(
    recipe: Recipe,
    stage: str,
    data: Mapping[str, Any],
    networks: Mapping[str, Any],
    device: torch.device,
    dataset: Dataset | None = None,
) -> Trainer:
    """The stage's trainer around networks with the given weights; other networks have new weights."""
    shape = tuple(data["shape"])
    bounds = None if data["bounds"] is None else (data["bounds"][0], data["bounds"][1])
    with torch.random.fork_rng(devices=[]):
        built: dict[str, Any] = {name: build(recipe, shape) for name, build in BUILD.items()}
    for name, module in built.items():
        if module is not None:
            module.to(device)
            if name in networks:
                module.load_state_dict(networks[name])
    parts = {
        **built,
        "sampler": build_sampler(recipe, "sampler", bounds),
        "buffer": build_buffer(recipe),
        "dataset": dataset,
    }
    settings = recipe.parts[STAGES[stage]].stage
    assert settings is not None, "resolve gives every trainer its stage options"
    horizon = horizon_of(settings, 1, recipe.run.seed, STAGES[stage])
    return build_trainer(recipe, STAGES[stage], horizon, parts)


def starting_trainer(
    recipe: Recipe, dataset: Dataset, source: RunDirectory, generator: Mapping[str, Tensor] | None = None
) -> tuple[Trainer, Start]:
    """The energy stage's trainer around the energy of `source`, or a RunError where that does not fit.

    `generator` are the weights of the generator; where the stage of `source` moved its own, those count.
    """
    with torch.device("meta"):
        energy = build_energy(recipe, dataset.shape)
    assert energy is not None, "the recipe's energy is the source's"
    start = energy_of(source, energy)
    compare(
        energy,
        start.weights,
        f"The energy of {source.path} does not fit the data",
        f"Give it data like those in {source.path / 'data.json'}, or leave --energy-from out.",
    )
    data = {"shape": dataset.shape, "bounds": dataset.bounds}
    networks: dict[str, Any] = {"energy": start.weights}
    moved = source.networks("train").get("generator", generator)
    if moved is not None:
        networks["generator"] = moved
    return staged(recipe, "train", data, networks, torch.device("cpu"), dataset), start


def begin_at(run: RunDirectory, trainer: Trainer, start: Start) -> bool:
    """The energy stage's checkpoint of step 0, which it resumes from: nothing is initialised from data.

    `trainer` has the start's weights. True if the optimiser goes on too.
    """
    moved = with_moments(trainer, "energy", start.moments)
    run.checkpoints("train").save(0, trainer.state_dict())
    about = {"from": start.source, "step": start.step, "optimizer": moved}
    write_json(run.path / "train" / "start.json", about)
    return moved
