"""StackedMNIST: three digits in three channels, one of 1,000 modes each."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.builtin.data import mnist
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.datasets import MnistOptions, StackedMnistOptions
from vaebm_toolkit.core import ModalDataset, Split, stream
from vaebm_toolkit.errors import DataError
from vaebm_toolkit.evaluation.classifier import Classifier, Placed, classifier

PLACES = (100, 10, 1)
"""What the digits of channels 0, 1 and 2 count in a label."""
STEPS = 1500
"""Training steps of the digits' classifier: 99 % of MNIST's test digits."""
ENOUGH = 0.985
"""Accuracy on test digits below which modes are not counted: one image in 22 would be misplaced."""


class StackedSplit(Split):
    """Example i has the digits triples[i] of `digits` as its channels; put together at every access.

    triples: (N, 3) int64.
    """

    def __init__(self, digits: Split, triples: Tensor) -> None:
        self.digits, self.triples = digits, triples

    def __len__(self) -> int:
        return len(self.triples)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(B, 3, H, W) float32 in [0, 1]."""
        x = self.digits.batch(self.triples[indices].flatten(), rng)  # (3 B, 1, H, W)
        return x.view(-1, 3, *x.shape[2:])

    def labels(self) -> Tensor:
        """(N,) int64: 100 a + 10 b + c for the digits a, b and c."""
        digits = self.digits.labels()
        assert digits is not None, "build refuses digits without labels"
        return stacked_label(digits[self.triples])


class StackedMnist(ImageDataset, ModalDataset):
    """All triples are equally likely; the digits' classes are so up to MNIST's balance, 9.0 to 11.2 %."""

    modes = 1000

    def __init__(self, digits: ImageDataset, options: StackedMnistOptions) -> None:
        train, test = (
            StackedSplit(split, torch.randint(len(split), (size, 3), generator=rng))
            for split, size, rng in (
                (digits.train, options.train_size, stream(options.seed, "stacked-mnist", "train")),
                (digits.test, options.test_size, stream(options.seed, "stacked-mnist", "test")),
            )
        )
        for split in (train, test):
            split.triples = split.triples[: options.limit]
        names = tuple(f"{i:03}" for i in range(self.modes))
        super().__init__((3, *digits.shape[1:]), train, test, classes=names, levels=digits.levels)
        self.digits = digits

    @functools.cached_property
    def trained(self) -> tuple[Classifier, float]:
        """The classifier of single digits and its accuracy on the test digits; trained at the first use."""
        return classifier(self.digits, steps=STEPS, network=Placed)

    def mode_of(self, x: Tensor) -> Tensor:
        """The label of each example by its digits' most likely classes; every example is in some mode."""
        classifier = self.good_classifier()
        with torch.no_grad():
            channels = x.to("cpu", torch.float32).flatten(0, 1)[:, None]
            digits = [classifier(part).argmax(1) for part in channels.split(1000)]
        return stacked_label(torch.cat(digits).view(-1, 3)).to(x.device)

    def about_modes(self) -> Mapping[str, Any]:
        self.good_classifier()
        return {"digit accuracy": round(self.trained[1], 4)}

    def good_classifier(self) -> Classifier:
        """The classifier, or a DataError where it is too often wrong for a count that can be compared."""
        classifier, accuracy = self.trained
        if accuracy < ENOUGH:
            raise DataError(
                f"Modes are not counted: the digits' classifier is right on {accuracy:.1%} of the test "
                f"digits, and {ENOUGH:.1%} are asked for.",
                "Give all of MNIST's files and leave --dataset.size out, or count no modes: "
                '--evaluate.metrics "frechet"',
            )
        return classifier


def stacked_label(digits: Tensor) -> Tensor:
    """100 a + 10 b + c: (N, 3) int64 -> (N,)."""
    return (digits * torch.tensor(PLACES)).sum(1)


def build(options: StackedMnistOptions) -> StackedMnist:
    digits = mnist.build(
        MnistOptions(
            root=options.root, download=options.download,
            size=options.size, bits=options.bits, pad=options.pad,
        )
    )  # fmt: skip
    for name, split in (("train", digits.train), ("test", digits.test)):
        labels = split.labels()
        if labels is None or labels.min() < 0 or labels.max() > 9:
            found = "none" if labels is None else f"{int(labels.min())} to {int(labels.max())}"
            raise DataError(
                f"stacked-mnist needs labels 0 to 9; the {name} digits under {options.root} have {found}.",
                "Add `labels`, (N,) whole numbers, to the .npz, or give other files: --dataset.root DIR",
            )
    return StackedMnist(digits, options)
