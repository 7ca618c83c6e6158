"""MNIST and Fashion-MNIST from IDX files (torchvision's layout, packed or not) or npz."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaebm_toolkit.builtin.data import npz
from vaebm_toolkit.builtin.data.binary import binarised
from vaebm_toolkit.builtin.data.download import fetch, missing
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.datasets import MnistOptions
from vaebm_toolkit.errors import DataError

CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
PARTS = ("train", "t10k")
KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")


def build(options: MnistOptions) -> ImageDataset:
    return _build("MNIST", "mnist", tuple("0123456789"), options)


def build_fashion(options: MnistOptions) -> ImageDataset:
    return _build("FashionMNIST", "fashion_mnist", CLOTHES, options)


def read_idx(path: Path) -> Tensor:
    """An IDX file of unsigned bytes, packed by gzip or not, as uint8 of its own shape.

    Format: two zero bytes, type 8, number of dimensions, each as big-endian int32, the bytes.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise _damaged(path, "no IDX header")
    header = 4 + 4 * data[3]
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4)]
    if len(data) != header + int(np.prod(shape)):
        raise _damaged(path, f"{len(data)} bytes where {header + int(np.prod(shape))} belong")
    return torch.frombuffer(bytearray(data[header:]), dtype=torch.uint8).reshape(shape)


def _build(folder: str, name: str, classes: tuple[str, ...], options: MnistOptions) -> ImageDataset:
    root = Path(options.root).expanduser()
    if (files := _idx_files(root, folder)) is None and _npz_folder(root, name) is None and options.download:
        _download(folder, name, root)
        files = _idx_files(root, folder)
    splits: list[tuple[Tensor, Tensor | None]]
    if files is not None:
        splits = [(read_idx(images)[:, None], read_idx(labels)) for images, labels in files]
    elif (at := _npz_folder(root, name)) is not None:
        splits = [npz.read(at / f"{split}.npz") for split in ("train", "test")]
    else:
        expected = [f"{part}-{kind}[.gz]" for part in PARTS for kind in KINDS]
        raise missing(name, root, [f"{folder}/raw/{file}" for file in expected] + ["train.npz and test.npz"])
    for images, labels in splits:
        if images.shape[1:] != (1, 28, 28) or (labels is not None and len(labels) != len(images)):
            raise DataError(
                f"The files under {root} are not {name}: images {tuple(images.shape)}.",
                "Read other images with --dataset npz or --dataset image-folder.",
            )
    train, test = ((x[: options.limit], None if y is None else y[: options.limit]) for x, y in splits)
    data = npz.from_tensors(train, test, options, classes)
    return binarised(data) if options.binarise else data


def _idx_files(root: Path, folder: str) -> list[tuple[Path, Path]] | None:
    """(images, labels) of the training and the test part, if all four are in one place."""
    for place in (root / folder / "raw", root / folder, root / "raw", root):
        pairs = [[_packed_or_not(place / f"{part}-{kind}") for kind in KINDS] for part in PARTS]
        found = [(images, labels) for images, labels in pairs if images is not None and labels is not None]
        if len(found) == len(PARTS):
            return found
    return None


def _packed_or_not(path: Path) -> Path | None:
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None


def _npz_folder(root: Path, name: str) -> Path | None:
    for place in (root / name, root):
        if (place / "train.npz").is_file() and (place / "test.npz").is_file():
            return place
    return None


def _download(folder: str, name: str, root: Path) -> None:
    from torchvision import datasets

    fetch(name, root, lambda: getattr(datasets, folder)(root, download=True))


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is truncated or damaged ({why}).",
        "Delete it and fetch it again: --dataset.download true",
    )
