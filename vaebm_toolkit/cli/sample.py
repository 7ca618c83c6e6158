"""`vaebm sample RUN`: samples to PNG files, one picture, or npz."""

from __future__ import annotations

from pathlib import Path

import click

from vaebm_toolkit.cli import warn_of_problems
from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.registry import installed


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
@click.option("--generator-only", is_flag=True, help="Without the energy's correction.")
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
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, …")
@click.option("--quiet", "-q", is_flag=True, help="Only warnings.")
def command(
    run: Path, count: int, out: Path | None, generator_only: bool, first: int, seed: int,
    batch_size: int, device: str, quiet: bool,
) -> None:  # fmt: skip
    """Draw samples with the sampler recipe stored in RUN.

    \b
    vaebm sample runs/0001-digits                          64 PNG files
    vaebm sample runs/0001-digits -n 10000 --out x.npz     one array
    """
    warn_of_problems()
    from vaebm_toolkit.evaluation.sampling import samples
    from vaebm_toolkit.evaluation.writing import writer
    from vaebm_toolkit.pipeline import load_model
    from vaebm_toolkit.training.device import choose_device
    from vaebm_toolkit.training.rundir import RunDirectory

    directory = RunDirectory.open(run, installed())
    where = choose_device(device)
    model = load_model(directory, where)
    if generator_only:
        model = model.alone()
    out = out if out is not None else run / "samples" / "sampled"
    like = next(model.generator.parameters())
    if out.suffix not in ("", ".png", ".npz") and not out.is_dir():
        raise RecipeError(
            f"Samples cannot be written as {out.suffix}.", "Name a .png (one grid), a .npz, or a folder."
        )
    if out.is_file() and out.suffix == "":
        raise RecipeError(f"{out} is a file, not a folder.", "Choose another --out.")
    if out.suffix == ".png" and len(model.generator.groups["x"]) != 3:
        raise RecipeError("These samples are vectors, not images.", "Write them to an array: --out NAME.npz")
    with writer(out, count) as write:
        made = 0
        for x in samples(model, range(first, first + count), seed, batch_size, where, like):
            write(x.cpu())
            made += len(x)
            if not quiet and made < count:
                click.echo(f"{made}/{count} samples", err=True)
    if not quiet:
        click.echo(f"{count} samples: {out}")
