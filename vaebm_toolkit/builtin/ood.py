"""The metric `ood`: whether the model's scores tell held-out data from other data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.builtin.data.whole import held_out, images
from vaebm_toolkit.builtin.datasets import Channels
from vaebm_toolkit.builtin.metrics import OodOptions
from vaebm_toolkit.core import (
    Dataset,
    EnergyFunction,
    Figure,
    Metric,
    Model,
    RowStreams,
    Split,
    rand,
    stream,
)
from vaebm_toolkit.errors import DataError, RecipeError, RunError, ToolkitError
from vaebm_toolkit.evaluation.likelihood import importance_weighted
from vaebm_toolkit.evaluation.roc import auroc
from vaebm_toolkit.registry import installed

BATCH = 50  # examples at once
ALIKE = 10  # examples, by which a set is known to be the data
MADE = ("constant", "noise", "interpolated")
"""What needs no files; vectors have no `constant`."""
Draw = Callable[[Tensor], Tensor]
"""Numbers of examples (B,) -> (B, *data shape), float32."""


class Drawn(Split):
    """Examples made or read when they are asked for, each by its number alone."""

    def __init__(self, count: int, draw: Draw) -> None:
        self.count, self.draw = count, draw

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        return self.draw(indices)


class Ood(Metric):
    """AUROC = P(score of a held-out example > score of another) + ½ P(equal), of every score of the model.

    Scores: log p_θ(x) − E(x), which is log h(x) + log Z (VAEBM, eq. 2); −E(x); the ELBO. The samples play
    no part in it.
    """

    def __init__(self, options: OodOptions) -> None:
        self.options = options
        self.model: Model | None = None
        self.protocol: dict[str, Any] = {}
        self.sets: dict[str, Split] = {}
        self.shape: tuple[int, ...] | None = None  # that `sets` were brought to

    def check(self, dataset: Dataset) -> None:
        if len(dataset.test) < 2:
            raise DataError(
                "evaluate.metrics: ood needs at least 2 held-out examples.",
                "Hold out more, or compare with the training split: --split train",
            )
        if self.shape != tuple(dataset.shape):
            self.sets = {name: opened(name, path, dataset) for name, path in paths(self.options.sets).items()}
            self.shape = tuple(dataset.shape)

    def see(self, model: Model) -> None:
        self.model = model

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        self.check(dataset)
        assert self.model is not None, "see() comes first"
        o, count = self.options, min(self.options.examples, len(dataset.test))
        others = {**made(dataset, count), **{k: spread(s, o.examples) for k, s in self.sets.items()}}
        self.protocol = self.describe(dataset, count, others)
        ours = scores(self.model, spread(dataset.test, count), o.draws)
        figures: dict[str, float] = {}
        for name, split in others.items() if ours else ():
            theirs = scores(self.model, on_grid(split, dataset), o.draws)
            for score, values in ours.items():
                if values.isnan().any() or theirs[score].isnan().any():
                    raise RunError(
                        f"ood: {score} is not a number for some examples of the data or of {name}.",
                        "Leave the metric out: --evaluate.metrics frechet; or train with smaller steps.",
                    )
                found = auroc(values, theirs[score])
                figures[f"AUROC {score}, {name}"] = Figure(found.value, *found.interval())
        same = [
            f
            for f in figures
            for name in self.sets
            if f.endswith(f", {name}") and same_as(dataset, others[name])
        ]
        if same:
            self.protocol["found"] = {
                "reading": dict.fromkeys(same, "the run's own data: 0.5 is what it should be")
            }
        return figures

    def describe(self, dataset: Dataset, count: int, others: Mapping[str, Split]) -> dict[str, Any]:
        where = {name: f" of {path}" for name, path in paths(self.options.sets).items() if path}
        said: dict[str, Any] = {
            "examples": count,
            "against": ", ".join(f"{name} {len(s):,}{where.get(name, '')}" for name, s in others.items()),
            "draws": self.options.draws,
        }
        if self.sets:
            side, channels = brought_to(dataset)
            size = "as stored" if side is None else f"shorter side to {side}, centre cut"
            said["images of sets"] = f"{size}, {channels}"
        if (levels := getattr(dataset, "levels", None)) is not None:
            said["values of others"] = f"rounded to k/{levels}"
        return said


@torch.no_grad()
def scores(model: Model, split: Split, draws: int) -> dict[str, Tensor]:
    """Score -> its value for each example, (N,) float64: those that the model has."""
    fitted, like, found = model.fitted, model.like, {}
    energy, generator = fitted.energy, None if fitted.generator is None else model.autoencoder()
    x = Drawn(len(split), lambda index: split.batch(index).to(like))
    told: dict[str, Any] = {"examples": len(x), "seed": 0, "batch_size": BATCH, "device": like.device}
    if energy is not None:
        found["−E"] = -energies(energy, x)
    if generator is not None and energy is not None:
        found = {"log p − E": importance_weighted(generator, x, draws=draws, **told) + found["−E"], **found}
    if generator is not None:
        found["ELBO"] = importance_weighted(generator, x, draws=1, **told)
    return found


def energies(energy: EnergyFunction, split: Split) -> Tensor:
    """E(x) of each example, (N,) float64."""
    batches = torch.arange(len(split)).split(BATCH)
    return torch.cat([energy(split.batch(index)).double().cpu() for index in batches])


def made(dataset: Dataset, count: int) -> dict[str, Split]:
    """`MADE` of the data's shape: uniform, and of two held-out examples each. Example i has its own stream.

    Of vectors `noise` is uniform over the box of the held-out data, twice as wide.
    """
    shape, test = tuple(dataset.shape), dataset.test

    def constant(index: Tensor) -> Tensor:
        flat = rand((len(index), shape[0], 1, 1), streams("constant", index), dtype=torch.float32)
        return flat.expand(-1, *shape)

    def noise(index: Tensor) -> Tensor:
        return rand((len(index), *shape), streams("noise", index), dtype=torch.float32)

    def interpolated(index: Tensor) -> Tensor:
        u = rand((len(index), 2), streams("interpolated", index), dtype=torch.float64)
        a = (u[:, 0] * len(test)).long()
        b = (a + 1 + (u[:, 1] * (len(test) - 1)).long()) % len(test)  # any but a
        return (test.batch(a) + test.batch(b)) / 2

    found = {"constant": constant, "noise": noise, "interpolated": interpolated}
    if len(shape) != 3:
        x = test.batch(torch.arange(len(test)))
        low, high = x.amin(0), x.amax(0)
        middle, width = (low + high) / 2, high - low
        found = {
            "noise": lambda index: middle + 2 * width * (noise(index) - 0.5),
            "interpolated": interpolated,
        }
    return {name: Drawn(count, draw) for name, draw in found.items()}


def streams(name: str, index: Tensor) -> RowStreams:
    return RowStreams([stream(0, "ood", name, int(i)) for i in index])


def spread(split: Split, count: int) -> Split:
    """At most `count` examples, evenly spaced: files are sorted by class, and the first are of one."""
    count = min(count, len(split))
    rows = torch.arange(count) * len(split) // count
    return Drawn(count, lambda index: split.batch(rows[index]))


def on_grid(split: Split, dataset: Dataset) -> Split:
    """With values k / levels as the data have them, or a score could tell others by that alone."""
    levels = getattr(dataset, "levels", None)
    if levels is None:
        return split
    return Drawn(len(split), lambda index: (split.batch(index) * levels).round() / levels)


def same_as(dataset: Dataset, other: Split) -> bool:
    """Whether a set, evenly spaced, begins as the held-out data do, as far as 8 bits tell."""
    ours = spread(dataset.test, len(other))
    x, y = (s.batch(torch.arange(min(ALIKE, len(s)))) for s in (ours, other))
    return x.shape == y.shape and torch.allclose(x, y, rtol=0, atol=1 / 255)


def paths(sets: Iterable[str]) -> dict[str, str]:
    """NAME -> PATH of each NAME=PATH; "" of each data set that is named alone."""
    found: dict[str, str] = {}
    for given in sets:
        name, equals, path = (part.strip() for part in given.partition("="))
        if not name or not (path or (not equals and name in installed().names("dataset"))):
            raise RecipeError(
                f"evaluate.ood.sets: {given!r} is not NAME=PATH, nor a data set's name.",
                f"A name, and a folder, zip or npz of images: --ood {name or 'NAME'}={path or 'PATH'}",
            )
        if name in found or name in MADE:
            raise RecipeError(
                f"evaluate.ood.sets: the name {name} is used twice"
                + (", by the metric itself too." if name in MADE else "."),
                f"Give each set a name of its own: --ood {name}-2={path or 'PATH'}",
            )
        found[name] = path
    return found


def brought_to(dataset: Dataset) -> tuple[int | None, Channels]:
    """The side that images are brought to, none where the data are not square, and the channels."""
    channels, height, width = dataset.shape
    kinds: dict[int, Channels] = {1: "grey", 3: "rgb"}
    return height if height == width else None, kinds.get(channels, "data")


def opened(name: str, path: str, dataset: Dataset) -> Split:
    """The images of a set, of the data's shape; of its test/ where it has one."""
    shape = tuple(dataset.shape)
    if len(shape) != 3:
        raise RecipeError(
            f"evaluate.ood.sets: {name} is a set of images, and the data are vectors of {shape[0]} values.",
            "Leave --ood out: vectors are compared with noise and with interpolated data.",
        )
    found = images(path, *brought_to(dataset)).test if path else of_data_set(name, dataset)
    theirs = tuple(found.batch(torch.arange(1)).shape[1:])
    if theirs != shape:
        raise DataError(
            f"The images of {path or name} have shape {theirs} and the data {shape}, which is not square "
            "or neither grey nor rgb: they are not brought to it.",
            "Resize them to that shape first.",
        )
    if len(found) < 2:
        raise DataError(
            f"{path or name} holds {len(found)} image, and ood needs at least 2.",
            f"Name a folder, zip or npz with more: --ood {name}=PATH",
        )
    return found


def of_data_set(name: str, dataset: Dataset) -> Split:
    """The test split of the data set of that name, brought to the data's size and channels."""
    size, channels = brought_to(dataset)
    try:
        return held_out(name, size, channels)
    except ToolkitError as e:
        raise DataError(
            f"evaluate.ood.sets: the data set {name} by its name alone: {e.message}",
            f"Say where its images are, in a folder, zip or npz: --ood {name}=PATH",
        ) from e
