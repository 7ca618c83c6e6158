"""What commands on a trained autoencoder share: the run, its data set with flags on top, the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaebm_toolkit.cli.parts import RECIPE, PartsCommand, tables_of
from vaebm_toolkit.errors import RunError
from vaebm_toolkit.recipe import Table, part, read
from vaebm_toolkit.registry import Registry, installed

if TYPE_CHECKING:
    import torch

    from vaebm_toolkit.core import Autoencoder, Dataset


class RunDataCommand(PartsCommand):
    """A command on a RUN whose data set is the run's own, unless flags change it."""

    tables = ("dataset",)
    plain = ()

    def first_look(self, args: list[str], registry: Registry) -> tuple[dict[str, Table], dict[str, Table]]:
        chosen, base = super().first_look(args, registry)
        runs = [Path(a, RECIPE) for a in args if not a.startswith("-") and Path(a, RECIPE).is_file()]
        return chosen, read(runs[0]) if runs else base


run_argument = click.argument("run", type=click.Path(path_type=Path))
device_option = click.option("--device", default="auto", show_default=True, help="cpu, cuda, …")
seed_option = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the posterior samples."
)
batch_option = click.option(
    "--batch-size", type=click.IntRange(1), default=100, show_default=True, help="Examples at a time."
)


def opened(ctx: click.Context, run: Path, device: str) -> tuple[Autoencoder, Dataset, torch.device]:
    """The run's generator, ready to encode, and the data of the flags, which must fit it."""
    from vaebm_toolkit.building import construct
    from vaebm_toolkit.trained import load_autoencoder
    from vaebm_toolkit.training.device import choose_device
    from vaebm_toolkit.training.rundir import DATA, RunDirectory, read_json

    directory = RunDirectory.open(run, installed())
    where = choose_device(device)
    model = load_autoencoder(directory, where)
    table: Mapping[str, Any] = tables_of(ctx)["dataset"]
    given = {k: v for k, v in table.items() if k != "name"}
    dataset: Dataset = construct(part(installed().find("dataset", str(table["name"])), given, "dataset"))
    trained = tuple(read_json(run / DATA)["shape"])
    if tuple(dataset.shape) != trained:
        raise RunError(
            f"{run} is for data of shape {trained}, but the data set {table['name']} has "
            f"{tuple(dataset.shape)}.",
            "Choose its size, channels and padding, e.g. --dataset.size; see vaebm plugins show dataset/"
            f"{table['name']}",
        )
    return model, dataset, where
