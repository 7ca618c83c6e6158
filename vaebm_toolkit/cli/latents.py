"""`vaebm latents`: encode, reconstruct, interpolate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaebm_toolkit.cli import warn_of_problems
from vaebm_toolkit.cli.parts import part_flag
from vaebm_toolkit.cli.trained import (
    RunDataCommand,
    batch_option,
    device_option,
    opened,
    run_argument,
    seed_option,
)
from vaebm_toolkit.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor


@click.group("latents", short_help="Encode, reconstruct and interpolate with a run's generator.")
def command() -> None:
    """What a trained autoencoder makes of data: by default of its run's own test split."""


def shared(count: int, what: str) -> Callable[[Any], Any]:
    """The options that all three commands have."""
    how_many, first = f"Number of {what}.", "Index to start at."
    options = [
        run_argument,
        part_flag("dataset", "Data to use; by default the run's own."),
        click.option(
            "--count", "-n", type=click.IntRange(1), default=count, show_default=True, help=how_many
        ),
        click.option("--first", type=click.IntRange(0), default=0, show_default=True, help=first),
        click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True),
        batch_option,
        seed_option,
        device_option,
    ]

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@command.command("encode", cls=RunDataCommand, short_help="Posterior samples as ε, to npz.")
@shared(1000, "examples")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="NAME.npz: one array per group.")
@click.pass_context
def encode(ctx: click.Context, /, run: Path, out: Path, **given: Any) -> None:
    """Write the noise ε behind each example, one array per latent group, and labels where there are any.

    Decoding it gives the example back: `x` holds what the latents leave over.
    """
    import io

    import numpy as np
    import torch

    from vaebm_toolkit.training.files import write

    must_be(out, ".npz")
    model, examples, index, where = chosen(ctx, run, given)
    parts: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for i in index.split(given["batch_size"]):
            eps = model.encode(examples.batch(i).to(where), streams(given["seed"], i, where))
            for name, value in eps.items():
                parts.setdefault(name, []).append(value.cpu())
    arrays = {name: torch.cat(values).numpy() for name, values in parts.items()}
    labels = examples.labels()
    if labels is not None:
        arrays["labels"] = labels[index].numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write(out, buffer.getvalue())
    click.echo(f"{len(index)} examples, {', '.join(f'{k} {v.shape[1:]}' for k, v in arrays.items())}: {out}")


@command.command("reconstruct", cls=RunDataCommand, short_help="Examples beside what their latents give.")
@shared(32, "examples")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="NAME.png")
@click.pass_context
def reconstruct(ctx: click.Context, /, run: Path, out: Path, **given: Any) -> None:
    """A picture of examples and their reconstructions, in alternate rows."""
    import torch

    from vaebm_toolkit.report.pictures import grid, save_png

    must_be(out, ".png")
    model, examples, index, where = chosen(ctx, run, given)
    images(model)
    columns = min(len(index), 16)
    rows = []
    with torch.no_grad():
        for i in index.split(columns):
            x = examples.batch(i)
            back = model.reconstruct(x.to(where), streams(given["seed"], i, where)).cpu()
            empty = torch.ones_like(x[:1]).expand(columns - len(i), -1, -1, -1)
            rows += [x, empty, back.clamp(0, 1), empty]
    click.echo(save_png(grid(torch.cat(rows), columns), out))


@command.command("interpolate", cls=RunDataCommand, short_help="From one example to the next, through ε.")
@shared(8, "pairs")
@click.option("--steps", type=click.IntRange(2), default=10, show_default=True, help="Images per pair.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="NAME.png")
@click.pass_context
def interpolate(ctx: click.Context, /, run: Path, out: Path, steps: int, **given: Any) -> None:
    """Rows from example 2k to 2k + 1 along a great circle of ε; the examples themselves at the ends."""
    import torch

    from vaebm_toolkit.report.pictures import grid, save_png

    must_be(out, ".png")
    model, examples, index, where = chosen(ctx, run, {**given, "count": 2 * given["count"]})
    images(model)
    if len(index) < 2:
        raise RecipeError("Interpolating needs two examples.", "Choose a smaller --first.")
    pairs = index[: len(index) // 2 * 2].view(-1, 2)
    rows = []
    with torch.no_grad():
        for a, b in ((examples.batch(p[:1]), examples.batch(p[1:])) for p in pairs):
            rng = streams(given["seed"], pairs[len(rows)][:1], where)
            path = model.interpolate(a.to(where), b.to(where), steps, rng)[0].cpu().clamp(0, 1)
            rows.append(torch.cat([a, path, b]))
    click.echo(save_png(grid(torch.cat(rows), steps + 2), out))


def chosen(ctx: click.Context, run: Path, given: dict[str, Any]) -> tuple[Any, Any, Tensor, Any]:
    """The network, the split, the indices asked for, the device."""
    warn_of_problems()
    import torch

    model, dataset, where = opened(ctx, run, given["device"])
    examples = getattr(dataset, given["split"])
    if given["first"] >= len(examples):
        raise RecipeError(
            f"--first {given['first']}: the {given['split']} split has {len(examples)} examples.",
            f"Choose a number below {len(examples)}.",
        )
    index = torch.arange(given["first"], min(given["first"] + given["count"], len(examples)))
    return model, examples, index, where


def streams(seed: int, index: Tensor, device: Any) -> Any:
    from vaebm_toolkit.evaluation import likelihood

    return likelihood.streams(seed, "encode", index, device)


def must_be(out: Path, suffix: str) -> None:
    if out.suffix != suffix:
        raise RecipeError(
            f"--out {out}: this is written as {suffix}.", f"Use --out {out.with_suffix(suffix)}"
        )


def images(model: Any) -> None:
    if len(model.groups["x"]) != 3:
        raise RecipeError("These data are vectors, not images.", "Write their latents: vaebm latents encode")
