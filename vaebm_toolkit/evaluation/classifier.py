"""A small classifier of images, whose hidden layer is a feature space."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_toolkit.core import Dataset, stream
from vaebm_toolkit.errors import DataError


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


def train_classifier(
    dataset: Dataset,
    seed: int = 0,
    steps: int = 1000,
    batch_size: int = 128,
    network: Callable[[tuple[int, ...], int], Classifier] = Pooled,
) -> tuple[Classifier, float]:
    """A classifier fitted to the training labels, and its accuracy on the test split.

    `network(shape, classes)` makes it. Float32 on the CPU; the caller's random state is left alone.
    """
    labels, test_labels = labels_of(dataset)
    init = torch.random.get_rng_state()
    torch.default_generator.manual_seed(seed)  # the only way to seed layers; the caller's state is put back
    model = network(dataset.shape, int(labels.max()) + 1).to(torch.float32)
    torch.random.set_rng_state(init)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        rng = stream(seed, "classifier", step)
        index = torch.randint(len(dataset.train), (batch_size,), generator=rng)
        with torch.enable_grad():
            loss = F.cross_entropy(model(dataset.train.batch(index)), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval().requires_grad_(False)
    right = 0
    for index in torch.arange(len(dataset.test)).split(500):
        right += int((model(dataset.test.batch(index)).argmax(1) == test_labels[index]).sum())
    return model, right / len(dataset.test)
