"""Where models come from: a run, a recipe, training."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from rich.console import Console

from vaebm_toolkit import core
from vaebm_toolkit.building import build_dataset, build_energy, build_generator, build_sampler
from vaebm_toolkit.cli.progress import Live, Plain, Quiet
from vaebm_toolkit.core import Dataset
from vaebm_toolkit.errors import RecipeError, quoted
from vaebm_toolkit.launch import begin, go_on
from vaebm_toolkit.notebook.choosing import Source, Tables, resolve, resolved
from vaebm_toolkit.notebook.model import Model
from vaebm_toolkit.pipeline import Pipeline, seeded
from vaebm_toolkit.recipe import Recipe
from vaebm_toolkit.registry import Registry, installed
from vaebm_toolkit.trained import load_model
from vaebm_toolkit.training.device import choose_device, undisturbed
from vaebm_toolkit.training.rundir import RunDirectory, next_path


def load(run: str | Path, *, device: str | torch.device = "auto") -> Model:
    """The model of a finished run; of one whose energy is not trained yet, the generator alone.

    device: "auto" is the first CUDA device, else the CPU.
    """
    directory = RunDirectory.open(Path(run), installed())
    where = choose_device(str(device))
    recipe = directory.recipe
    alone = "pretrain" in recipe.parts and directory.done("pretrain") and not directory.done("train")
    with undisturbed(recipe.run.threads):
        # at temperature 1: `sample` has its own
        made_of = load_model(directory, where, (1.0,), 1.0, second=not alone)
    return Model(recipe, made_of, directory)


def build(
    recipe: Source | Sequence[Source] | None = None,
    overrides: Tables | None = None,
    *,
    shape: Sequence[int] | None = None,
    device: str | torch.device = "auto",
) -> Model:
    """New networks of a recipe, with the weights that `vaebm run` would start from: those of [run] seed.

    recipe, overrides: as `vt.resolve` takes them. shape: of one example, (C, H, W) in [0, 1] or (D,); by
    default that of the recipe's data, which are read for it. The networks are in training mode, for a loop of
    yours; `sample`, `energy` and the like use them in eval mode, as they are at that moment.
    """
    chosen = recipe if isinstance(recipe, Recipe) and not overrides else resolve(recipe, overrides)
    where, seed = choose_device(str(device)), chosen.run.seed
    with undisturbed(chosen.run.threads):
        if shape is None:
            dataset = build_dataset(chosen)
            size, bounds = tuple(dataset.shape), dataset.bounds
        else:
            size = tuple(shape)
            if len(size) not in (1, 3) or min(size) < 1:
                raise RecipeError(f"shape={size}: data are images (C, H, W) or vectors (D,).")
            bounds = (0.0, 1.0) if len(size) == 3 else None
        with seeded(seed, "generator"):
            generator = build_generator(chosen, size)
        with seeded(seed, "energy"):
            energy = build_energy(chosen, size)
    for network in (generator, energy):
        if network is not None:
            network.to(where)
    o = chosen.evaluate
    sampler = build_sampler(chosen, "sampling", bounds)
    return Model(chosen, core.Model(generator, energy, sampler, size, bounds, o.decoder == "mean", o.stretch))


def run(
    recipe: Source | Sequence[Source] | None = None,
    overrides: Tables | None = None,
    *,
    out: str | Path | None = None,
    generator_from: str | Path | None = None,
    device: str | torch.device = "auto",
    quiet: bool = True,
) -> Model:
    """The whole job of `vaebm run`, in this process: train, sample, compare; then the model.

    recipe, overrides: as `vt.resolve` takes them. out: by default runs/NNNN-DATASET. generator_from: a run
    whose trained generator is used. quiet: without progress; warnings are Python's. An interrupted one goes
    on with `vt.resume`.
    """
    registry = installed()
    source = None if generator_from is None else Path(generator_from)
    chosen = resolved(recipe, overrides, source, registry)
    path = Path(out) if out is not None else next_path(Path("runs"), chosen.parts["dataset"].name)
    where, show = choose_device(str(device)), reporter(quiet)
    with undisturbed(chosen.run.threads), torch.enable_grad():
        data, directory = begin(
            chosen, registry, path, ["vaebm_toolkit.run"], generator_from=source, told=show.note
        )
        work(directory, data, registry, show, where)
    return load(path, device=where)


def resume(run: str | Path, *, device: str | torch.device = "auto", quiet: bool = True) -> Model:
    """Goes on with a run that was stopped, from its last checkpoint, as `vaebm run --resume RUN`."""
    registry, where, show = installed(), choose_device(str(device)), reporter(quiet)
    with undisturbed(RunDirectory.open(Path(run), registry).recipe.run.threads), torch.enable_grad():
        data, directory = go_on(Path(run), registry)
        work(directory, data, registry, show, where)
    return load(run, device=where)


def work(
    directory: RunDirectory, data: Dataset, registry: Registry, show: Quiet, device: torch.device
) -> None:
    """The pipeline, with nothing left open."""
    directory.lock()
    try:
        Pipeline(directory, data, registry, show, device).work()
    except KeyboardInterrupt as e:
        e.add_note(
            f"Go on with: vt.resume({str(directory.path)!r}), or vaebm run --resume {quoted(directory.path)}"
        )
        raise
    finally:
        show.end()
        directory.close()
        directory.unlock()


class Silent(Quiet):
    """Warnings as Python's, and nothing else."""

    def warn(self, text: str) -> None:
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def reporter(quiet: bool) -> Quiet:
    """A bar on terminals and in notebooks that can show one, plain lines elsewhere."""
    if quiet:
        return Silent()
    console = Console()
    bar = find_spec("ipywidgets") is not None if console.is_jupyter else console.is_terminal
    return Live(console) if bar else Plain()
