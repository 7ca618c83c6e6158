"""`vaebm evaluate`: figures of runs, or of images in files, each with its protocol."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaebm_toolkit.cli import plugin_option, warn_of_problems
from vaebm_toolkit.cli.devices import (
    apart,
    devices_option,
    joined,
    launch,
    launched,
    leads,
    telling_lost_ranks,
)
from vaebm_toolkit.cli.hints import EVALUATE, hints, images_of, refuse_images, writable
from vaebm_toolkit.cli.parts import RECIPE, PartsCommand, flags_of, pairs, part_flag
from vaebm_toolkit.cli.tables import print_records
from vaebm_toolkit.errors import RecipeError, RunError, quoted
from vaebm_toolkit.options import slots
from vaebm_toolkit.recipe import ABSENT, DEFAULT_DATASET, Table, base_recipe, merge, read, resolve
from vaebm_toolkit.registry import Registry, installed

if TYPE_CHECKING:
    import torch

    from vaebm_toolkit.evaluation.records import Record
    from vaebm_toolkit.results import Evaluation


AGAIN = "Go on with the same command."


class EvaluateCommand(PartsCommand):
    """Its data set and its [evaluate] are the first run's, unless flags change them."""

    tables = ("dataset",)
    plain = ("evaluate",)

    def first_look(self, args: list[str], registry: Registry) -> tuple[dict[str, Table], dict[str, Table]]:
        chosen, base = super().first_look(args, registry)
        runs = [Path(a, RECIPE) for a in args if not a.startswith("-") and Path(a, RECIPE).is_file()]
        return chosen, read(runs[0]) if runs else base


@click.command("evaluate", cls=EvaluateCommand, short_help="Figures of runs or of images, with protocols.")
@click.argument("runs", nargs=-1, metavar="[RUN…]", type=click.Path(path_type=Path))
@click.option(
    "--metric", "-m", "metrics", multiple=True, metavar="NAME",
    help="What to compute; as often as you like. By default the run's own; of files, frechet.",
)  # fmt: skip
@click.option(
    "--features", "-f", "features", multiple=True, metavar="NAME",
    help="The space that sets are compared in: pixels, classifier, inception; as often as you like.",
)  # fmt: skip
@click.option(
    "--count", "-n", type=click.IntRange(2), help="Samples of each model; by default the run's own."
)
@click.option("--split", type=click.Choice(["test", "train"]), help="Of the data, what is compared with.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the samples; by default the run's own.")
@click.option("--samples", metavar="PATH", help="Instead of a run: a folder, zip or npz of images.")
@click.option(
    "--reference", metavar="PATH", help="With --samples: what they are compared with, the same; or --dataset."
)
@click.option(
    "--size", type=click.IntRange(1, 4096), help="With --samples: both sets are brought to this size."
)
@click.option(
    "--channels", type=click.Choice(["data", "grey", "rgb"]), default="data", show_default=True,
    help="With --samples: as stored, one channel, or three.",
)  # fmt: skip
@part_flag("dataset", "The data to compare with; by default the run's own.")
@click.option("--inception-weights", metavar="FILE", help="Weights for --features inception.")
@click.option(
    "--ood",
    multiple=True,
    metavar="NAME=PATH",
    help="Other images, or the NAME of a data set, for the metric ood; as often as you like.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE.json", help="Also write the figures there."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, …")
@devices_option
@click.option("--quiet", "-q", is_flag=True, help="Figures alone, without progress.")
@plugin_option
@click.pass_context
def command(
    ctx: click.Context, /, runs: tuple[Path, ...], metrics: tuple[str, ...], features: tuple[str, ...],
    count: int | None, split: str | None, seed: int | None, samples: str | None, reference: str | None,
    size: int | None, channels: str, inception_weights: str | None, ood: tuple[str, ...], out: Path | None,
    device: str, devices: int | None, quiet: bool, **given: Any,
) -> None:  # fmt: skip
    """Compute metrics, each printed and kept with the protocol that it was measured by.

    \b
    vaebm evaluate runs/0001-digits                              the run's own metrics again
    vaebm evaluate runs/0001-digits -m frechet -m precision-recall -f pixels -f classifier
    vaebm evaluate runs/a -m frechet -f inception -n 50000 --split train --inception.mode legacy_tensorflow
    vaebm evaluate runs/a -m likelihood --likelihood.draws 100
    vaebm evaluate runs/a -m ood --ood svhn=svhn.zip
    vaebm evaluate runs/a runs/b -m kernel                       two runs beside each other
    vaebm evaluate --samples fakes/ --reference photos.zip -m frechet -f pixels

    Options of a metric or feature space are flags with its name: --kernel.subsets 200. Samples and slow
    features are kept in the run: what was interrupted goes on with the same command.
    """
    if leads():
        warn_of_problems()
    if out is not None:
        writable(out)
    if bool(runs) == (samples is not None):
        raise RecipeError(
            "Give either runs, or --samples with images." if runs else "There is nothing to evaluate.",
            "vaebm evaluate RUN, or vaebm evaluate --samples FOLDER --reference FOLDER",
        )
    evaluate: Table = {k: list(v) for k, v in {"metrics": metrics, "features": features}.items() if v}
    evaluate.update({k: v for k, v in {"samples": count, "split": split}.items() if v is not None})
    if inception_weights is not None:
        evaluate["inception"] = {"weights": inception_weights}
    if ood:
        evaluate["ood"] = {"sets": list(ood)}
    flags = merge(flags_of(ctx), {"evaluate": evaluate})
    if samples is not None:
        if (devices or 1) > 1:
            raise RecipeError("--devices is for runs, whose samples are made.", "Leave it out.")
        named = any(name == "--dataset" for name, _ in pairs(sys.argv[1:])) or "dataset" in flags
        found = of_files(samples, reference, size, channels, flags, named, quiet)
    else:
        if reference is not None or size is not None:
            raise RecipeError(
                "--reference and --size are for --samples; a run is compared with its own data.",
                "Another data set: --dataset NAME, with its options",
            )
        if apart(devices):
            launch(devices or 1, device, lambda: AGAIN)
            return
        runs = tuple({run.resolve(): run for run in runs}.values())  # one given twice is one
        with hints(EVALUATE):
            evaluations = drawn_by_all(runs, flags, seed, device, quiet)
            if not leads():
                return
            found = [r for e in evaluations for r in of_run(e, len(runs) > 1, bool(metrics))]
    print_records(found)
    if out is not None:
        from vaebm_toolkit.evaluation import records

        records.write(out, found)
        click.echo(f"Written to {quoted(out)}")


def drawn_by_all(
    runs: Sequence[Path], flags: Mapping[str, Table], seed: int | None, device: str, quiet: bool
) -> list[Evaluation]:
    """The runs to be evaluated; where processes work together, with all of their samples."""
    from vaebm_toolkit.training.processes import leave

    stop = threading.Event()
    with telling_lost_ranks(lambda: AGAIN, stop), joined(device) as where:
        evaluations = [evaluation_of(run, flags, seed, where, quiet) for run in runs]
        if launched():
            for evaluation in evaluations:
                evaluation.draw()
            leave()
    return evaluations


def evaluation_of(
    run: Path, flags: Mapping[str, Table], seed: int | None, device: torch.device, quiet: bool
) -> Evaluation:
    """A run's models, to be judged as the flags say."""
    from vaebm_toolkit.building import build_dataset
    from vaebm_toolkit.results import Evaluation
    from vaebm_toolkit.training.rundir import DATA, RunDirectory, read_json

    refuse_images(run)
    registry = installed()
    directory = RunDirectory.open(run, registry)
    tables = merge(read(run / RECIPE), flags)
    if seed is not None:
        tables = merge(tables, {"run": {"seed": seed}})
    recipe = resolve(in_usual_spaces(tables, flags), registry)
    dataset = build_dataset(recipe)
    trained = tuple(read_json(run / DATA)["shape"])
    if tuple(dataset.shape) != trained:
        raise RecipeError(
            f"{run} is for data of shape {trained}, and the data set {recipe.names['dataset']} has "
            f"{tuple(dataset.shape)}.",
            "Choose its size, channels and padding, e.g. --dataset.size; see vaebm plugins show dataset/"
            f"{recipe.names['dataset']}",
        )

    return Evaluation(directory, dataset, device, recipe=recipe, note=noted(quiet))


def of_run(evaluation: Evaluation, named: bool, asked: bool) -> list[Record]:
    """Every figure of a run's models; kept in the run.

    named: the run's name stands before its models'. asked: for certain metrics, and no mean energy.
    """
    from attrs import evolve

    from vaebm_toolkit.training.fit import Interrupted

    run, recipe = evaluation.run.path, evaluation.recipe
    try:
        found = evaluation.figures(energy=not asked)
    except KeyboardInterrupt as e:
        raise Interrupted(
            "Stopped; the samples and slow features so far are kept in the run.",
            AGAIN,
        ) from e
    for metric in recipe.evaluate.metrics:
        if not any(r.metric == metric for r in found):
            fix = f"What it needs: vaebm plugins show metric/{metric}"
            if len(recipe.evaluate.metrics) == 1:
                raise RunError(f"The models of {run} have no figure of the metric {metric}.", fix)
            click.echo(f"warning: the models of {run} have no figure of the metric {metric}. {fix}", err=True)
    return [evolve(r, model=f"{run.name}: {r.model}") for r in found] if named else found


def in_usual_spaces(tables: Mapping[str, Table], flags: Mapping[str, Table]) -> Mapping[str, Table]:
    """With the metrics' own feature spaces, where nobody named one and pixels are none of them."""
    evaluate = tables.get("evaluate", {})
    if "features" in flags.get("evaluate", {}) or list(evaluate.get("features", ["pixels"])) != ["pixels"]:
        return tables
    found = [installed().find("metric", name).component for name in evaluate.get("metrics", ())]
    usual = [s.default for c in found for s in slots(c.options).values() if s.kind == "features"]
    if not usual or "pixels" in usual:
        return tables
    return merge(tables, {"evaluate": {"features": usual}})


def noted(quiet: bool) -> Callable[[str], None]:
    """Where notes on the work go: stderr, or nowhere."""
    return (lambda text: None) if quiet else (lambda text: click.echo(text, err=True))


def of_files(
    samples: str, reference: str | None, size: int | None, channels: str, flags: Mapping[str, Table],
    named: bool, quiet: bool,
) -> list[Record]:  # fmt: skip
    """Figures of images in files."""
    from vaebm_toolkit import sets
    from vaebm_toolkit.building import build_dataset
    from vaebm_toolkit.report.tables import words

    if reference is None and not named:
        raise RecipeError(
            "There is nothing to compare the samples with.",
            "Name it: --reference FOLDER, a zip or an npz; or a data set: --dataset NAME",
        )
    if reference is not None and named:
        raise RecipeError("There are two references.", "Give --reference or --dataset, not both.")
    base = read(base_recipe(installed(), flags.get("dataset", {}).get("name", DEFAULT_DATASET)))
    evaluate = {"metrics": ["frechet"], "features": ["pixels"], **flags.get("evaluate", {})}
    tables = {**base, "dataset": {**base.get("dataset", {}), **flags.get("dataset", {})},
              "trainer": {"name": ABSENT}, "evaluate": evaluate}  # fmt: skip
    recipe = resolve(in_usual_spaces(merge(tables, tables), flags), installed())
    with hints(EVALUATE if reference is None else images_of("--reference")):
        theirs = build_dataset(recipe) if reference is None else sets.images(reference, size, channels)
    with hints(images_of("--samples")):
        ours = sets.images(samples, size, channels)
        return sets.compared(ours, theirs, recipe, samples, reference or words(recipe.data), noted(quiet))
