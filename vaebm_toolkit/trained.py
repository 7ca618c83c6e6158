"""The networks of finished runs, ready to use."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from vaebm_toolkit.building import build_energy, build_generator, build_sampler
from vaebm_toolkit.core import Autoencoder, EnergyFunction, Generator, Model, ranks
from vaebm_toolkit.errors import RecipeError, RunError, quoted
from vaebm_toolkit.training.device import use_threads
from vaebm_toolkit.training.rundir import DATA, STAGES, RunDirectory, read_json


def load(
    module: torch.nn.Module, networks: dict[str, Any], name: str, run: Path, assign: bool = False
) -> None:
    """Put a stored network's weights into the module built from the recipe."""
    if name not in networks:
        raise RunError(f"{run} has no {name}.", f"Train one: vaebm run --resume {quoted(run)}")
    try:
        module.load_state_dict(networks[name], assign=assign)
    except RuntimeError as e:
        lines = [line.strip() for line in str(e).splitlines()[1:4]]
        raise RunError(
            f"The {name} stored in {run} does not fit the recipe or the data: {' '.join(lines)}",
            f"Compare the recipe and the size of the data with {run / 'recipe.toml'} and {run / DATA}.",
        ) from e


def load_autoencoder(run: RunDirectory, device: torch.device) -> Autoencoder:
    """The generator of a run's finished first stage, with its encoder, in eval mode.

    A second stage that moves the decoder leaves the encoder behind, so what it made is not taken here.
    """
    generator = build_generator(run.recipe, tuple(read_json(run.path / DATA)["shape"]))
    if not isinstance(generator, Autoencoder):
        raise RunError(f"{run.path} has no generator that can encode.", "Choose a run with one.")
    if run.done("pretrain") is None:
        raise RunError(
            f"{run.path} has no trained generator.", f"Train it: vaebm run --resume {quoted(run.path)}"
        )
    use_threads(run.recipe.run.threads)
    load(generator, run.networks("pretrain"), "generator", run.path)
    return generator.to(device).eval().requires_grad_(False)


def load_model(
    run: RunDirectory,
    device: torch.device,
    temperature: tuple[float, ...] | None = None,
    head_temperature: float | None = None,
    second: bool = True,
) -> Model:
    """The model of a finished run, ready to sample from; without its `second` stage, the generator of
    its first.

    Temperatures are those of its recipe unless given: of the latent groups (one, or one each, coarse
    to fine) and of the decoder's own noise. Of several ranks, all call it, and rank 0 reads the run.
    """

    def done(stage: str) -> bool:
        return ranks.from_first(lambda: run.done(stage) is not None)

    def networks(stage: str) -> dict[str, Any]:
        return ranks.from_first(lambda: run.networks(stage))

    use_threads(run.recipe.run.threads)
    about = ranks.from_first(lambda: read_json(run.path / DATA))
    shape = tuple(about["shape"])
    bounds = None if about["bounds"] is None else (about["bounds"][0], about["bounds"][1])
    stored: dict[str, Any] = {}
    for stage, table in STAGES.items():
        if table in run.recipe.parts and (second or table == "pretrain"):
            if not done(stage):
                raise RunError(
                    f"{run.path} has not finished its stage {stage}.",
                    f"Finish it: vaebm run --resume {quoted(run.path)}",
                )
            stored.update(networks(stage))
    generator, with_encoder = build_generator(run.recipe, shape), None
    if generator is not None:
        load(generator, stored, "generator", run.path)
        o = run.recipe.evaluate
        latent = o.temperature if temperature is None else temperature
        head = o.head_temperature if head_temperature is None else head_temperature
        moved = second and done("train") and "generator" in networks("train")
        usual = set(latent) == {1.0} and head == 1.0
        if isinstance(generator, Autoencoder) and "pretrain" in run.recipe.parts and usual and not moved:
            with_encoder = functools.cache(lambda: load_autoencoder(run, device))
        generator = at_temperature(generator.to(device).eval().frozen(), latent, head)
    energy: EnergyFunction | None = None
    if "trainer" in run.recipe.parts and second:
        energy = build_energy(run.recipe, shape)
    if energy is not None:
        load(energy, stored, "energy", run.path)
        energy.to(device).eval().requires_grad_(False)
    sampler = build_sampler(run.recipe, "sampling", bounds) if energy is not None else None
    if generator is None and (sampler is None or sampler.space != "data"):
        raise RunError(
            f"The recipe of {run.path} has no generator, and nothing else to sample from.",
            "Start a run with one: vaebm run --generator NAME",
        )
    return Model(
        generator,
        energy,
        sampler,
        shape,
        bounds,
        run.recipe.evaluate.decoder == "mean",
        run.recipe.evaluate.stretch,
        with_encoder,
    )


def at_temperature(generator: Generator, latent: tuple[float, ...], head: float) -> Generator:
    """The generator itself where all temperatures are 1."""
    groups = len(generator.groups) - 1
    if len(latent) not in (1, groups):
        raise RecipeError(
            f"evaluate.temperature: {len(latent)} temperatures for {groups} latent groups.",
            f"Give one for all, or {groups}, coarse to fine, e.g. {','.join(['0.7'] * groups)}",
        )
    return generator if set(latent) == {1.0} and head == 1.0 else generator.tempered(latent, head)
