"""Metrics on sets of samples: which are computed, on what, and the protocol beside each figure."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.building import build_metrics
from vaebm_toolkit.core import Dataset, Features, Metric, Model, SampleStream, Split
from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.evaluation import records
from vaebm_toolkit.evaluation.records import Record
from vaebm_toolkit.evaluation.store import SampleStore
from vaebm_toolkit.recipe import Part


class KeptSamples(SampleStream):
    """Samples in a store on disk, and beside them their features in spaces that are slow."""

    def __init__(
        self,
        store: SampleStore,
        count: int,
        batch_size: int,
        stop: Callable[[], None] = lambda: None,
        seed: int = 0,
    ) -> None:
        """stop: called before each batch; what it raises ends the work."""
        super().__init__((), count, seed)
        self.store, self.batch_size, self.stop = store, batch_size, stop

    def __iter__(self) -> Iterator[Tensor]:
        for x in self.store.batches(self.count, self.batch_size):
            self.stop()
            yield x

    def fill(self) -> None:
        """Make those that are not there yet."""
        for _ in self:
            pass

    def features(self, space: Features) -> Iterator[Tensor]:
        if not space.slow:
            return super().features(space)

        def read(indices: range) -> Iterator[Tensor]:
            return self.store.batches(indices.stop, self.batch_size, start=indices.start)

        return kept_features(self.store.path / "features", space, read, self.count, self.batch_size)


class KeptSplit(Split):
    """A split of the data, and in `folder` its features in spaces that are slow."""

    def __init__(self, split: Split, folder: Path, batch_size: int) -> None:
        self.split, self.folder, self.batch_size = split, folder, batch_size

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        return self.split.batch(indices, rng)

    def labels(self) -> Tensor | None:
        return self.split.labels()

    def features(self, space: Features) -> Iterator[Tensor]:
        """Of all its examples, (B, d), batch by batch."""

        def read(indices: range) -> Iterator[Tensor]:
            chosen = torch.arange(indices.start, indices.stop)
            return (self.batch(index) for index in chosen.split(self.batch_size))

        if not space.slow:
            return map(space, read(range(len(self))))
        return kept_features(self.folder, space, read, len(self), self.batch_size)


def kept_features(
    folder: Path, space: Features, read: Callable[[range], Iterator[Tensor]], count: int, batch_size: int
) -> Iterator[Tensor]:
    """Features computed once, and read from `folder` from then on."""
    made = SampleStore(folder, {"features": dict(space.about)}, lambda indices: map(space, read(indices)))
    return made.batches(count, batch_size)


def measure(
    parts: Sequence[Part],
    dataset: Dataset,
    reference: Dataset,
    streams: Mapping[str, SampleStream],
    models: Mapping[str, Model],
    protocol: Callable[[str], Mapping[str, Any]],
    known: dict[str, Metric] | None = None,
) -> Iterator[tuple[Record, Metric]]:
    """Every figure of every stream, with the metric that found it.

    parts: `Recipe.measured`. dataset: what feature spaces are fitted to; reference: the same with the split
    that is compared with as `test`. models: what streams come from, by name, where it is known.
    protocol: of a stream, besides what the metric says. known: metrics to use again.
    """
    about = {"device": device_of(models), "versions": versions()}
    known = {} if known is None else known
    for name, features, made in build_metrics(parts, dataset, reference):
        metric = known.setdefault(f"{name}/{features}", made)
        for stream_name, samples in streams.items():
            if stream_name in models:
                metric.see(models[stream_name])
            elif type(metric).see is not Metric.see:
                raise RecipeError(
                    f"The metric {name} looks at a model's networks, and these are samples alone.",
                    f"Give the run that they come from: vaebm evaluate RUN --metric {name}",
                )
            figures = metric.compute(samples, reference)
            if figures:
                told = {**protocol(stream_name), **metric.protocol, **about}
                yield records.record(stream_name, name, features, figures, told), metric


@contextmanager
def noting(note: Callable[[str], None]) -> Iterator[None]:
    """Passes on what feature spaces and metrics log about work that takes long."""

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(record.getMessage())

    ours, handler = logging.getLogger("vaebm_toolkit"), Notes(logging.INFO)
    before = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(before)


def against(dataset: Dataset, split: str, folder: Path, batch_size: int) -> Dataset:
    """The data set with the split that metrics compare with in the place of `test`."""
    reference = copy.copy(dataset)
    reference.train = KeptSplit(dataset.train, folder / "train-split", batch_size)
    same = split == "train" or dataset.test is dataset.train
    reference.test = reference.train if same else KeptSplit(dataset.test, folder / "test-split", batch_size)
    return reference


def device_of(models: Mapping[str, Model]) -> str:
    return next((str(m.like.device) for m in models.values()), "cpu")


def versions() -> dict[str, str]:
    """What a figure depends on besides the recipe."""
    return {"vaebm-toolkit": version("vaebm-toolkit"), "torch": torch.__version__}
