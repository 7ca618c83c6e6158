"""Claims about data sets: examples by index, the same whenever they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.core import Dataset, ModalDataset, Split
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.testing.claims import Claims, Fault, Skip
from vaebm_toolkit.testing.measure import no_global_randomness, same_bits
from vaebm_toolkit.testing.subject import Subject

CLAIMS = Claims()
LOOKED_AT = 256  # examples of a split that every claim looks at
COMPARED = 5000  # examples of a split that are compared with those of the other


class DatasetSubject(Subject):
    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data; Skip where they cannot be read with the options as given."""
        try:
            built: Dataset = self.build()
        except ToolkitError as e:
            raise Skip(
                f"It cannot be read with these options: {e.message} Give what it needs: "
                f'check_dataset("{self.component.name}", options={{…}}), or vaebm plugins check '
                f"{self.component.name} and its flags."
            ) from e
        return built

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.dataset.train, "test": self.dataset.test}


SUBJECT = DatasetSubject


def places(s: DatasetSubject) -> list[Any]:
    """Where options are looked at: there is one place, where the data can be read."""
    return [None] if s.dataset else []


def fingerprint(s: DatasetSubject, table: Mapping[str, Any], place: Any) -> Iterator[Any]:
    """What can be observed of a data set with these options, cheapest first."""
    data: Dataset = s.build(table)
    yield data.shape, data.bounds, len(data.train), len(data.test)
    for split in (data.train, data.test):
        yield split.batch(spread(len(split), 64)), split.labels()
        yield split.batch(spread(len(split), 64), s.rng("options"))


def spread(n: int, count: int) -> Tensor:
    """At most `count` indices over all of n, evenly."""
    count = min(n, count)
    return torch.arange(count) * n // count


@CLAIMS.add
def builds(s: DatasetSubject) -> str | None:
    """The factory returns a core.Dataset with a shape, bounds, and two splits that are not empty."""
    data = s.dataset
    if not isinstance(data, Dataset):
        raise Fault(f"the factory returns a {type(data).__name__}", "a core.Dataset", "class Mine(Dataset).")
    if (
        not isinstance(data.shape, tuple)
        or len(data.shape) not in (1, 3)
        or not all(isinstance(n, int) and n > 0 for n in data.shape)
    ):
        raise Fault(
            f"its shape is {data.shape!r}",
            "(C, H, W) or (D,), a tuple of whole numbers",
            "tuple(x.shape[1:])",
        )
    if data.bounds is not None and not data.bounds[0] < data.bounds[1]:
        raise Fault(f"its bounds are {data.bounds}", "(lowest, highest), or None", "(0.0, 1.0) for images.")
    for name, split in s.splits.items():
        if not isinstance(split, Split) or not len(split):
            raise Fault(
                f"its {name} split is {split!r} with nothing in it", "a core.Split", "Look at its files."
            )
    return f"{'×'.join(map(str, data.shape))}, {len(data.train):,} and {len(data.test):,} examples"


@CLAIMS.add
def examples_have_the_shape(s: DatasetSubject) -> str | None:
    """batch(indices) is (B, *shape), float32, finite."""
    for name, split in s.splits.items():
        index = spread(len(split), LOOKED_AT)
        x = split.batch(index)
        if x.dtype != torch.float32 or x.shape != (len(index), *s.dataset.shape):
            raise Fault(
                f"{name}.batch of {len(index)} indices is {tuple(x.shape)}, {x.dtype}",
                f"{(len(index), *s.dataset.shape)}, torch.float32",
                "x.to(torch.float32) / 255 for bytes, and permute(0, 3, 1, 2) for channels last.",
            )
        if not torch.isfinite(x).all():
            raise Fault(f"{name} has values that are not finite", "finite values", "Leave such examples out.")
    return None


@CLAIMS.add
def values_are_within_bounds(s: DatasetSubject) -> str | None:
    """Every value is within `bounds`, and those of images use the range: they are not all near 0."""
    bounds = s.dataset.bounds
    if bounds is None:
        if len(s.dataset.shape) == 3:
            raise Fault(
                "it has images, and bounds are None", "(0.0, 1.0)", "Images are in [0, 1] everywhere."
            )
        raise Skip("It has no bounds.")
    for name, split in s.splits.items():
        index = spread(len(split), LOOKED_AT)
        for words, x in (("", split.batch(index)), (" when augmented", split.batch(index, s.rng("bounds")))):
            low, high = float(x.min()), float(x.max())
            if low < bounds[0] or high > bounds[1]:
                raise Fault(
                    f"{name} has values from {low:.4g} to {high:.4g}{words}",
                    f"values within {bounds}",
                    "Divide bytes by 255, and clamp after resizing.",
                )
            if high - bounds[0] < 0.02 * (bounds[1] - bounds[0]):
                raise Fault(
                    f"the largest value of {LOOKED_AT} examples of {name} is {high:.2g}",
                    f"values that use {bounds}",
                    "Divide by 255 once.",
                )
    return None


@CLAIMS.add
def examples_go_by_index(s: DatasetSubject) -> str | None:
    """An example is the same in every batch, in any order, as often as it is asked for."""
    for name, split in s.splits.items():
        index = spread(len(split), 16)
        with no_global_randomness(f"{name}.batch(indices)"):
            together, again = split.batch(index), split.batch(index)
        if not same_bits(together, again):
            raise Fault(
                f"{name}.batch(indices) gives other examples the second time",
                "the same ones: augmentation only where there is an rng",
                "if rng is not None: x = flipped(x, rng)",
            )
        turned = split.batch(index.flip(0)).flip(0)
        alone = torch.cat([split.batch(i[None]) for i in index])
        if not same_bits(together, turned) or not same_bits(together, alone):
            raise Fault(
                f"an example of {name} depends on the batch or the order it is asked for in",
                "batch(indices)[k] is example indices[k], by itself",
                "Index with all of `indices`, and normalise by constants of the whole data set.",
            )
    return None


@CLAIMS.add
def augmentation_follows_the_stream(s: DatasetSubject) -> str | None:
    """batch(indices, rng) depends on the stream alone: a resumed run repeats it."""
    changed = False
    for name, split in s.splits.items():
        index = spread(len(split), 32)
        with no_global_randomness(f"{name}.batch(indices, rng)"):
            first = split.batch(index, s.rng("augment"))
        if not same_bits(first, split.batch(index, s.rng("augment"))):
            raise Fault(
                f"{name}.batch(indices, rng) differs for two streams of one seed",
                "the same examples",
                "Draw all that is random from `rng`: torch.rand(n, generator=rng).",
            )
        changed |= not same_bits(first, split.batch(index))
    return "augments" if changed else "does not augment"


@CLAIMS.add
def batches_are_copies(s: DatasetSubject) -> str | None:
    """Writing into a batch does not change the data."""
    for name, split in s.splits.items():
        index = torch.arange(min(len(split), 8))
        before = split.batch(index).clone()
        split.batch(index).zero_()
        if not same_bits(before, split.batch(index)):
            raise Fault(
                f"writing into a batch of {name} changes the data set",
                "a copy",
                "Index with a tensor, or .clone().",
            )
    return None


@CLAIMS.add
def splits_are_apart(s: DatasetSubject) -> str | None:
    """The test split is not made of training examples: figures on it would say nothing."""
    train, test = (set(map(bytes_of, examples(split))) for split in (s.dataset.train, s.dataset.test))
    share = len(train & test) / len(test)
    if share > 0.5:
        raise Fault(
            f"{share:.0%} of the test examples are training examples too",
            "none, or the few that the data have twice",
            "Split the indices once, from a seed, and give each split its own.",
        )
    if len(train | test) == 1:
        raise Fault("all examples are the same", "examples that differ", "Look at its indices.")
    return f"{share:.1%} of the test split is in the training split too" if share else None


def examples(split: Split) -> Iterator[Tensor]:
    for index in torch.arange(min(len(split), COMPARED)).split(500):
        yield from split.batch(index)


def bytes_of(x: Tensor) -> bytes:
    return x.contiguous().numpy().tobytes()


@CLAIMS.add
def labels_fit(s: DatasetSubject) -> str | None:
    """labels() is (N,) int64 from 0 on, in both splits, or None in both."""
    found = {name: split.labels() for name, split in s.splits.items()}
    if all(labels is None for labels in found.values()):
        raise Skip("It has no labels.")
    for name, labels in found.items():
        expected = (len(s.splits[name]),)
        if labels is None:
            raise Fault(
                f"{name} has no labels, and the other split has", "both or neither", "Return None in both."
            )
        if labels.dtype != torch.int64 or labels.shape != expected or labels.min() < 0:
            raise Fault(
                f"labels of {name} are {tuple(labels.shape)}, {labels.dtype}, from {labels.min()}",
                f"{expected}, torch.int64, from 0",
                "labels.to(torch.int64), numbered from 0.",
            )
    return f"{int(max(labels.max() for labels in found.values())) + 1} classes"  # type: ignore[union-attr]


@CLAIMS.add
def is_the_same_when_built_again(s: DatasetSubject) -> str | None:
    """Built again with the same options it has the same examples in the same splits."""
    splits = s.splits
    again: Dataset = s.build(start=1)
    for name, split in splits.items():
        other = getattr(again, name)
        index = spread(len(split), LOOKED_AT)
        if len(other) != len(split) or not same_bits(split.batch(index), other.batch(index)):
            raise Fault(
                f"built again, its {name} split has other examples",
                "the same: runs are resumed in another process",
                "Shuffle and draw from a seed that is an option: core.stream(options.seed, …).",
            )
    return None


@CLAIMS.add
def modes_are_counted(s: DatasetSubject) -> str | None:
    """mode_of(x), where there are modes, is (B,) int64 from −1 on; most test examples are in a mode."""
    data = s.dataset
    if not isinstance(data, ModalDataset):
        raise Skip("Its examples have no modes.")
    found = data.mode_of(data.test.batch(spread(len(data.test), LOOKED_AT)))
    if found.dtype != torch.int64 or found.dim() != 1 or found.min() < -1 or found.max() >= data.modes:
        raise Fault(
            f"mode_of gives {tuple(found.shape)}, {found.dtype}, from {found.min()} to {found.max()}",
            f"(B,) int64 from -1 to {data.modes - 1}",
            "−1 stands for no mode.",
        )
    inside = float((found >= 0).double().mean())
    if inside < 0.5:
        raise Fault(f"{inside:.0%} of the test examples are in a mode", "most of them", "Widen the modes.")
    return f"{inside:.0%} of the test examples are in one of {data.modes} modes"
