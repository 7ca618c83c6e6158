"""`vaebm likelihood RUN`: how likely a run's generator finds held-out data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vaebm_toolkit.cli import warn_of_problems
from vaebm_toolkit.cli.parts import part_flag
from vaebm_toolkit.cli.tables import table
from vaebm_toolkit.cli.trained import (
    RunDataCommand,
    batch_option,
    device_option,
    opened,
    run_argument,
    seed_option,
)
from vaebm_toolkit.errors import quoted


@click.command("likelihood", cls=RunDataCommand, short_help="Bounds on log p(x) of a run's generator.")
@run_argument
@part_flag("dataset", "Data to score; by default the run's own.")
@click.option(
    "--count", "-n", type=click.IntRange(2), help="Examples for the ELBO; by default the whole split."
)
@click.option(
    "--importance",
    "draws",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Posterior samples per example for the importance-weighted bound; 0: without it.",
)
@click.option(
    "--importance-count", type=click.IntRange(2), default=1000, show_default=True, help="Examples for it."
)
@click.option(
    "--threshold", type=click.FloatRange(0), default=0.1, show_default=True,
    help="Nats of KL above which a unit counts as active.",
)  # fmt: skip
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True)
@batch_option
@seed_option
@device_option
@click.pass_context
def command(
    ctx: click.Context, /, run: Path, count: int | None, draws: int, importance_count: int,
    threshold: float, split: str, batch_size: int, seed: int, device: str, **given: Any,
) -> None:  # fmt: skip
    """The ELBO, the KL and active units of each latent group, and the importance-weighted bound.

    \b
    vaebm likelihood runs/0001-mnist
    vaebm likelihood runs/0001-mnist --importance 100 --importance-count 1000

    Of the generator alone. With its energy, log Z and log h: vaebm evaluate RUN --metric likelihood
    """
    warn_of_problems()
    import math

    from vaebm_toolkit.evaluation.likelihood import active, bits_per_dim, likelihood
    from vaebm_toolkit.training.files import write_json

    model, dataset, where = opened(ctx, run, device)
    examples = getattr(dataset, split)
    model.check_data(examples.batch(_first(examples)))
    terminal = sys.stderr.isatty()

    def told(done: int, total: int) -> None:
        if terminal:
            click.echo(f"\r{done}/{total} passes", nl=False, err=True)

    found = likelihood(
        model, examples, examples=count or len(examples), weighted=importance_count, draws=draws,
        seed=seed, batch_size=batch_size, device=where, told=told,
    )  # fmt: skip
    if terminal:
        click.echo("\r", nl=False, err=True)
    size = math.prod(dataset.shape)
    bounds = {"ELBO": found.elbo}
    if found.importance is not None:
        bounds[f"importance-weighted, {found.draws} samples"] = found.importance
    rows = [
        [name, f"{b.nats:.2f}", f"{b.error:.2f}", f"{bits_per_dim(b.nats, size):.4f}", f"{b.examples:,}"]
        for name, b in bounds.items()
    ]
    table(["bound on log p(x)", "nats", "± s.e.", "bits/dim", f"{split} examples"], rows)
    click.echo(f"({model.density}; log p(x|z) {found.log_px:.2f}, KL {sum(found.kl):.2f} nats; seed {seed})")
    counts = active(found.units, threshold)
    names = [name for name in model.groups if name != "x"]
    table(
        ["latent group", "shape", "KL nats", f"active units (> {threshold:g} nats)"],
        [
            [name, "×".join(map(str, model.groups[name])), f"{kl:.3f}",
             f"{counts[name]} of {len(found.units[name])}" if name in counts else "unknown"]
            for name, kl in zip(names, found.kl, strict=True)
        ],
    )  # fmt: skip
    stored = {
        "split": split, "seed": seed, "density": model.density, "device": str(where),
        "bounds": {k: {**b._asdict(), "bits/dim": bits_per_dim(b.nats, size)} for k, b in bounds.items()},
        "kl": dict(zip(names, found.kl, strict=True)), "active units": counts, "threshold": threshold,
    }  # fmt: skip
    write_json(run / "likelihood.json", stored)
    click.echo(f"Kept in {quoted(run / 'likelihood.json')}")


def _first(split: Any) -> Any:
    import torch

    return torch.arange(min(len(split), 64))
