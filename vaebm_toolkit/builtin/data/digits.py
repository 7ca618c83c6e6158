"""The digits inside the package: 1,797 images of 8 × 8, values 0..16 (see README.md beside this file)."""

from __future__ import annotations

import gzip
from importlib import resources

import numpy as np
import torch
from torch.nn.functional import pad

from vaebm_toolkit.builtin.data.memory import ImageDataset, MemorySplit
from vaebm_toolkit.builtin.data.splitting import hold_out
from vaebm_toolkit.builtin.datasets import DigitsOptions

LEVELS = 16
TEST_PER_CLASS = 36


def read() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (1797, 1, 8, 8) uint8 in 0..16 and labels (1797,) int64, in the file's order."""
    packed = resources.files("vaebm_toolkit.builtin.data").joinpath("digits.csv.gz").read_bytes()
    table = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",", dtype=np.int64)
    images = torch.from_numpy(table[:, :64].astype(np.uint8)).reshape(-1, 1, 8, 8)
    return images, torch.from_numpy(table[:, 64].copy())


def build(options: DigitsOptions) -> ImageDataset:
    """x = value / 16. Test: 36 images of every class, chosen by a hash of the row number."""
    images, labels = read()
    held = []
    for digit in range(10):
        rows = [i for i, label in enumerate(labels.tolist()) if label == digit]
        held += [rows[i] for i in hold_out([f"digits/{i}" for i in rows], TEST_PER_CLASS)[1]]
    is_test = torch.zeros(len(images), dtype=torch.bool)
    is_test[held] = True
    images = pad(images, [options.pad] * 4)
    train, test = (
        MemorySplit(images[rows][: options.limit], labels[rows][: options.limit], levels=LEVELS)
        for rows in (~is_test, is_test)
    )
    return ImageDataset(options.data_shape, train, test, classes=tuple("0123456789"), levels=LEVELS)
