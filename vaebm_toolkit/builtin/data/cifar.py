"""CIFAR-10 from torchvision's files, from npz, or from zips with one folder per class."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vaebm_toolkit.builtin.data import npz
from vaebm_toolkit.builtin.data.download import fetch, missing
from vaebm_toolkit.builtin.data.files import from_files
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.data.tree import splits_of
from vaebm_toolkit.builtin.data.zips import ZipSource
from vaebm_toolkit.builtin.datasets import Cifar10Options
from vaebm_toolkit.errors import DataError

BATCHES = "cifar-10-batches-py"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def build(options: Cifar10Options) -> ImageDataset:
    root = Path(options.root).expanduser()
    if (at := _place(root)) is None and options.download:
        from torchvision.datasets import CIFAR10

        fetch("cifar10", root, lambda: CIFAR10(root, download=True))
        at = _place(root)
    if at is None:
        batches = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch", "batches.meta"]
        looked = [f"{BATCHES}/{{{','.join(batches)}}}", "train.npz and test.npz", "train.zip and test.zip"]
        raise missing("cifar10", root, looked)
    if at.name == BATCHES:
        train, test = _pickles(at.parent)
    elif (at / "train.npz").is_file():
        train, test = npz.read(at / "train.npz"), npz.read(at / "test.npz")
    else:
        files = [splits_of(ZipSource(at / f"{split}.zip"))[0] for split in ("train", "test")]
        return _checked(from_files(files[0], files[1], options), options, at)
    cut = [(x[: options.limit], None if y is None else y[: options.limit]) for x, y in (train, test)]
    if any(x.shape[1:] != (3, 32, 32) for x, _ in cut):
        raise _other(at, tuple(cut[0][0].shape[1:]))
    return npz.from_tensors(cut[0], cut[1], options, CLASSES)


def _place(root: Path) -> Path | None:
    """The folder of torchvision's batches, or one with train and test as npz or zip."""
    if (root / BATCHES).is_dir():
        return root / BATCHES
    for at in (root / "cifar10", root):
        if any(
            all((at / f"{split}.{kind}").is_file() for split in ("train", "test")) for kind in ("npz", "zip")
        ):
            return at
    return None


def _pickles(root: Path) -> list[tuple[Tensor, Tensor | None]]:
    """torchvision checks the MD5 of each file before it unpickles it."""
    from torchvision.datasets import CIFAR10

    try:
        parts = [CIFAR10(root, train=train) for train in (True, False)]
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise DataError(
            f"The CIFAR-10 files in {root / BATCHES} are incomplete or damaged: their checksums differ.",
            f"Delete {root / BATCHES} and fetch them again: --dataset.download true",
        ) from error
    return [
        (torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        for part in parts
    ]


def _checked(dataset: ImageDataset, options: Cifar10Options, at: Path) -> ImageDataset:
    if dataset.shape != options.data_shape:
        raise _other(at, dataset.shape)
    return dataset


def _other(at: Path, shape: tuple[int, ...]) -> DataError:
    return DataError(
        f"The files in {at} are not CIFAR-10: (C, H, W) = {shape}.",
        "Read other images with --dataset npz or --dataset image-folder.",
    )
