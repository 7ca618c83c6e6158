"""`vaebm sample RUN`: samples to PNG files, one picture, or npz."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaebm_toolkit.cli import warn_of_problems
from vaebm_toolkit.cli.devices import apart, devices_option, joined, launch, leads, telling_lost_ranks
from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.options import fields, from_text
from vaebm_toolkit.recipe import EvaluateOptions
from vaebm_toolkit.registry import installed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vaebm_toolkit.core import Model


@click.command("sample", short_help="Draw samples from a run, to PNG files or npz.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--count", "-n", type=click.IntRange(1), default=64, show_default=True, help="How many samples."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="NAME.png: one grid. NAME.npz: `images` uint8 (N, H, W, C). Otherwise a folder of "
    "PNG files. By default RUN/samples/sampled.",
)
@click.option(
    "--generator-only",
    is_flag=True,
    help="From the first stage's generator, no energy.",
)
@click.option(
    "--first",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Index of the first sample: sample i is the same in every call with this seed.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the samples.")
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="How many at a time; changes nothing but speed and memory.",
)
@click.option(
    "--temperature",
    metavar="T[,T…]",
    help="Of the latent groups: one for all, or one each, coarse to fine; by default the recipe's.",
)
@click.option("--head-temperature", type=click.FloatRange(0, min_open=True), help="Of the decoder's noise.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, …")
@devices_option
@click.option("--quiet", "-q", is_flag=True, help="Only warnings.")
def command(
    run: Path, count: int, out: Path | None, generator_only: bool, first: int, seed: int,
    batch_size: int, temperature: str | None, head_temperature: float | None, device: str,
    devices: int | None, quiet: bool,
) -> None:  # fmt: skip
    """Draw samples with the sampler recipe stored in RUN.

    \b
    vaebm sample runs/0001-digits                          64 PNG files
    vaebm sample runs/0001-digits -n 10000 --out x.npz     one array
    vaebm sample runs/0001-digits --generator-only --temperature 0.7
    """
    if leads():
        warn_of_problems()
    if apart(devices):
        launch(devices or 1, device, lambda: "Start it again.")
        return
    from vaebm_toolkit.evaluation.writing import writer
    from vaebm_toolkit.trained import load_model
    from vaebm_toolkit.training.processes import leave
    from vaebm_toolkit.training.rundir import RunDirectory

    directory = RunDirectory.open(run, installed())
    latent = None if temperature is None else numbers(temperature)
    changed = generator_only or latent is not None or head_temperature is not None
    if changed and "generator" not in directory.recipe.parts:
        raise RecipeError(
            f"{run} has no generator: it is an energy alone.",
            "Leave --generator-only, --temperature and --head-temperature out.",
        )
    out = out if out is not None else run / "samples" / "sampled"
    stop = threading.Event()
    with telling_lost_ranks(lambda: "Start it again.", stop), joined(device) as where:
        model = load_model(directory, where, latent, head_temperature, second=not generator_only)
        check_target(out, model.shape)
        drawn = drawn_by_all(model, range(first, first + count), seed, batch_size, where)
        if drawn is not None:
            with writer(out, count) as write:
                made = 0
                for x in drawn:
                    write(x.cpu())
                    made += len(x)
                    if not quiet and made < count:
                        click.echo(f"{made}/{count} samples", err=True)
        leave()
    if not quiet and leads():
        click.echo(f"{count} samples: {out}")


def check_target(out: Path, shape: tuple[int, ...]) -> None:
    """RecipeError where samples of that shape cannot be written there."""
    if out.suffix not in ("", ".png", ".npz") and not out.is_dir():
        raise RecipeError(
            f"Samples cannot be written as {out.suffix}.", "Name a .png (one grid), a .npz, or a folder."
        )
    if out.is_file() and out.suffix == "":
        raise RecipeError(f"{out} is a file, not a folder.", "Choose another --out.")
    if out.suffix == ".png" and len(shape) != 3:
        raise RecipeError("These samples are vectors, not images.", "Write them to an array: --out NAME.npz")


def drawn_by_all(
    model: Model, indices: range, seed: int, batch_size: int, device: torch.device
) -> Iterator[Tensor] | None:
    """Batches of samples on rank 0; on others None, when rank 0 has them all."""
    from vaebm_toolkit.core import ranks
    from vaebm_toolkit.evaluation.sampling import samples
    from vaebm_toolkit.evaluation.sharing import Shared

    def rows(chosen: range) -> Iterator[Tensor]:
        return samples(model, chosen, seed, batch_size, device, model.like)

    if ranks.world() == 1:
        return rows(indices)
    shared = Shared({"samples": rows})
    if ranks.rank() > 0:
        shared.serve()
        return None

    def drawn() -> Iterator[Tensor]:
        yield from shared.make("samples", indices, batch_size)
        shared.end()

    return drawn()


def numbers(text: str) -> tuple[float, ...]:
    """Temperatures of --temperature, checked as those of a recipe are."""
    field = fields(EvaluateOptions)["temperature"]
    values: tuple[float, ...] = from_text(text, field.type, "--temperature")
    if not values or (field.check is not None and not all(field.check.holds(v) for v in values)):
        raise RecipeError(f"--temperature {text}: give one or more numbers, at least 0.")
    return values
