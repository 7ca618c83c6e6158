"""NumPy archives: `images` uint8 (N, H, W, C) or (N, H, W), and maybe `labels` (N,)."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaebm_toolkit.builtin.data import pixels
from vaebm_toolkit.builtin.data.locate import existing, required
from vaebm_toolkit.builtin.data.memory import ImageDataset, MemorySplit
from vaebm_toolkit.builtin.data.npz_errors import images_error, labels_error
from vaebm_toolkit.builtin.data.splitting import split_by_share
from vaebm_toolkit.builtin.datasets import ImageOptions, NpzOptions
from vaebm_toolkit.errors import DataError


def build(options: NpzOptions) -> ImageDataset:
    path = existing(required(options.path, "npz", "FILE.npz"), "an .npz file, or a folder with train.npz")
    test_path = None if options.test_path is None else existing(options.test_path, "an .npz file")
    if path.is_dir():
        if test_path is None and (path / "test.npz").is_file():
            test_path = path / "test.npz"
        path = _inside(path, "train.npz")
    if test_path is not None and test_path.is_dir():
        test_path = _inside(test_path, "test.npz")
    if test_path is not None:
        return from_tensors(
            _first(read(path), options.limit), _first(read(test_path), options.limit), options
        )
    images, labels = read(path)
    rows = split_by_share([str(i) for i in range(len(images))], options.test_share, str(path))
    train, test = (
        (images[part[: options.limit]], None if labels is None else labels[part[: options.limit]])
        for part in rows
    )
    return from_tensors(train, test, options)


def from_tensors(
    train: tuple[Tensor, Tensor | None],
    test: tuple[Tensor, Tensor | None],
    options: ImageOptions,
    classes: tuple[str, ...] = (),
) -> ImageDataset:
    """The data set of images (N, C, H, W) uint8 and labels (N,) per split."""
    levels, splits = pixels.levels(options), []
    for images, labels in (train, test):
        images = pixels.with_channels(pixels.resized(images, options.size), options.channels)
        splits.append(MemorySplit(pixels.finished(images, options), labels, levels=levels, flip=options.flip))
    shapes = [tuple(split.images.shape[1:]) for split in splits]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"Training images are {_words(shapes[0])}, test images {_words(shapes[1])}.",
            "Bring both to one shape with --dataset.size N and --dataset.channels grey or rgb.",
        )
    known = [labels for _, labels in (train, test) if labels is not None]
    if not known:
        classes = ()
    elif not classes:
        classes = tuple(str(i) for i in range(1 + max(int(labels.max()) for labels in known)))
    return ImageDataset(shapes[0], *splits, classes=classes, levels=levels)


def read(path: Path) -> tuple[Tensor, Tensor | None]:
    """Images (N, C, H, W) uint8 and labels (N,) int64 of one archive; every fault by name."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise DataError(f"{path} is not an .npz archive.", _save(path, f'np.load("{path.name}")'))
        with loaded as archive:
            keys = list(archive.files)
            images = archive["images"] if "images" in keys else None
            labels = archive["labels"] if "labels" in keys else None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if images is None:
        source = f'np.load("{path.name}")["{keys[0]}"]' if keys else "…"
        found = f"it holds {', '.join(keys)}" if keys else "it is empty"
        raise DataError(f"{path} has no array `images`; {found}.", _save(path, source))
    if (fault := images_error(images, path)) is not None:
        raise fault
    if labels is not None and (fault := labels_error(labels, len(images), path)) is not None:
        raise fault
    if images.ndim == 3:
        images = images[..., None]
    return (
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        None if labels is None else torch.from_numpy(labels.reshape(-1).astype(np.int64)),
    )


def _first(split: tuple[Tensor, Tensor | None], limit: int | None) -> tuple[Tensor, Tensor | None]:
    return split[0][:limit], None if split[1] is None else split[1][:limit]


def _inside(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        found = sorted(p.name for p in folder.glob("*.npz"))
        raise DataError(
            f"{folder} holds no {name}"
            + (f"; it has {', '.join(found[:5])}." if found else " nor any .npz."),
            f"Name the file: --dataset.path {folder / (found[0] if found else 'FILE.npz')}",
        )
    return folder / name


def _words(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} × {shape[2]} with {shape[0]} channel{'s' if shape[0] > 1 else ''}"


def _save(path: Path, expression: str) -> str:
    return f'Write it as np.savez("{path.stem}-images.npz", images={expression}), uint8 (N, H, W, C).'


def _unreadable(path: Path, error: Exception) -> DataError:
    if "pickle" in str(error):
        return DataError(
            f"{path} holds Python objects or is no NumPy archive; only plain arrays are read.",
            'Write it as np.savez("images.npz", images=array), array uint8 (N, H, W, C).',
        )
    return DataError(
        f"{path} is truncated or damaged ({str(error).rstrip('.') or type(error).__name__}).",
        "Copy or write the file again.",
    )
