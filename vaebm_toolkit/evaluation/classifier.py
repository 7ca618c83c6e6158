"""A small classifier of images, whose hidden layer is a feature space."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from vaebm_toolkit.core import Dataset, stream
from vaebm_toolkit.errors import DataError
from vaebm_toolkit.training.files import write

FORM = 1  # of the networks and their training: another number, and what is kept is not used any more

PASSES, LEAST = 100, 100  # over the images; steps, however few images there are
FEW = 50  # images, of which none are kept from learning
log = logging.getLogger(__name__)


class Classifier(nn.Module):
    """`body`: (B, C, H, W) -> features, (B, d); `head`: features -> logits, (B, classes)."""

    body: nn.Module
    head: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Pooled(Classifier):
    """A small convolutional network for any images; its features are the last hidden layer, (B, 64)."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(), nn.Linear(256, 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)


class Placed(Classifier):
    """For digits: one that keeps where strokes are, at a fifth of `Pooled`'s cost. Features (B, 128)."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        height, width = ((side + 1) // 2 // 2 for side in shape[1:])
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], 16, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * height * width, 128), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(128, classes)


def labels_of(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Labels of training and test split, (N,) each, or a DataError where a classifier cannot be trained."""
    train, test = dataset.train.labels(), dataset.test.labels()
    if train is None or test is None or len(dataset.shape) != 3:
        raise DataError(
            "The data set has no labels (or no images), so there is no classifier for features.",
            'Use pixels instead: --evaluate.features "pixels"',
        )
    return train, test


class Division(NamedTuple):
    """Which examples a classifier learns from, and which its accuracy is of."""

    learned: Tensor
    """(n,) rows of the training split"""
    checked: Tensor
    """(m,) rows of the test split"""
    words: str
    """what the accuracy is of"""


def division(dataset: Dataset) -> Division:
    """The two splits; of a data set whose splits are the same examples, a fifth is kept from learning.

    Fewer than `FEW` are all learned from, and the accuracy is on them.
    """
    n, m = len(dataset.train), len(dataset.test)
    if dataset.train is not dataset.test:
        return Division(torch.arange(n), torch.arange(m), f"{m:,} held-out images")
    if n < FEW:
        return Division(torch.arange(n), torch.arange(n), f"the {n} images it was trained on")
    order = torch.randperm(n, generator=stream(0, "classifier", "held out"))
    return Division(order[n // 5 :], order[: n // 5], f"{n // 5:,} held-out images")


def bounded(steps: int, images: int, batch_size: int = 128) -> int:
    """No more steps than `PASSES` over the images, and `LEAST` of them at least.

    >>> bounded(1000, 300), bounded(1000, 20), bounded(1000, 60_000), bounded(20, 20)
    (235, 100, 1000, 20)
    """
    return min(steps, max(LEAST, math.ceil(PASSES * images / batch_size)))


def classifier(
    dataset: Dataset,
    seed: int = 0,
    steps: int = 1000,
    network: Callable[[tuple[int, ...], int], Classifier] = Pooled,
) -> tuple[Classifier, float]:
    """`train_classifier`, once for a data set: kept in the user's cache folder, in `classifiers`.

    With few images it takes fewer steps: see `bounded`.

    The file's name follows from the labels, from examples spread over both splits, and from the settings.
    One that cannot be read or written costs a training and nothing else.
    """
    labels, test_labels = labels_of(dataset)
    learned = len(division(dataset).learned)
    steps = bounded(steps, learned)
    key = hashlib.sha256(f"{FORM} {network.__name__} {seed} {steps} {tuple(dataset.shape)}".encode())
    for split, y in ((dataset.train, labels), (dataset.test, test_labels)):
        key.update(y.long().numpy().tobytes())
        spread = torch.arange(min(len(split), 256)) * len(split) // min(len(split), 256)
        key.update(split.batch(spread).float().contiguous().numpy().tobytes())
    if dataset.train is dataset.test:
        key.update(f"{learned} learned".encode())
    file = cache_folder() / "classifiers" / f"{key.hexdigest()[:24]}.safetensors"
    model = untrained(network, dataset.shape, labels, seed)
    try:
        state = safetensors.torch.load_file(file)
        accuracy = float(state.pop("accuracy"))
        model.load_state_dict(state)
        return model.eval().requires_grad_(False), accuracy
    except (OSError, SafetensorError, RuntimeError, KeyError):
        log.info(
            "training the classifier on %s images, %d steps; kept in %s", f"{learned:,}", steps, file.parent
        )
        model, accuracy = train_classifier(dataset, seed, steps, network=network)
    held = {**model.state_dict(), "accuracy": torch.tensor(accuracy, dtype=torch.float64)}
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, safetensors.torch.save(held))
    return model, accuracy


def cache_folder() -> Path:
    """XDG_CACHE_HOME/vaebm-toolkit, by default ~/.cache/vaebm-toolkit."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vaebm-toolkit"


def train_classifier(
    dataset: Dataset,
    seed: int = 0,
    steps: int = 1000,
    batch_size: int = 128,
    network: Callable[[tuple[int, ...], int], Classifier] = Pooled,
) -> tuple[Classifier, float]:
    """A classifier fitted to the training labels, and its accuracy on the examples of `division`.

    `network(shape, classes)` makes it. Float32 on the CPU; the caller's random state is left alone.
    """
    labels, test_labels = labels_of(dataset)
    learned, checked, _ = division(dataset)
    model = untrained(network, dataset.shape, labels, seed)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        rng = stream(seed, "classifier", step)
        index = learned[torch.randint(len(learned), (batch_size,), generator=rng)]
        with torch.enable_grad():
            loss = F.cross_entropy(model(dataset.train.batch(index)), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval().requires_grad_(False)
    right = 0
    for index in checked.split(500):
        right += int((model(dataset.test.batch(index)).argmax(1) == test_labels[index]).sum())
    return model, right / len(checked)


def untrained(
    network: Callable[[tuple[int, ...], int], Classifier], shape: tuple[int, ...], labels: Tensor, seed: int
) -> Classifier:
    """In float32, its weights from the seed."""
    init = torch.random.get_rng_state()
    torch.default_generator.manual_seed(seed)  # the only way to seed layers; the caller's state is put back
    model = network(shape, int(labels.max()) + 1).to(torch.float32)
    torch.random.set_rng_state(init)
    return model
