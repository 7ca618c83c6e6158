"""From image files to splits: decoded once into memory where they fit, else at every access."""

from __future__ import annotations

import math
import sys

import numpy as np
import torch
from torch import Tensor

from vaebm_toolkit.builtin.data import pixels
from vaebm_toolkit.builtin.data.memory import ImageDataset, MemorySplit, mirrored
from vaebm_toolkit.builtin.data.pixels import Box
from vaebm_toolkit.builtin.data.scan import BadFiles, in_threads, reason, scan
from vaebm_toolkit.builtin.data.splitting import hold_out
from vaebm_toolkit.builtin.data.tree import Files
from vaebm_toolkit.builtin.datasets import FileOptions, ImageOptions
from vaebm_toolkit.core import Split
from vaebm_toolkit.errors import DataError

Shape = tuple[int, ...]
SAMPLE = 1000
"""Images decoded before step 0 where there are too many to decode all."""


class FileSplit(Split):
    """Images decoded when asked for. shape: (C, H, W) before padding, the same for all."""

    slow = True

    def __init__(
        self, files: Files, labels: Tensor | None, shape: Shape, options: ImageOptions, box: Box | None = None
    ) -> None:
        self.files, self._labels, self.shape = files, labels, shape
        self.options, self.box, self.names = options, box, files.names

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W) float32 in [0, 1]."""
        images = torch.stack(list(in_threads(self._one, indices.tolist())))
        x = pixels.finished(images, self.options).to(torch.float32).div_(pixels.levels(self.options))
        return mirrored(x, rng) if self.options.flip and rng is not None else x

    def labels(self) -> Tensor | None:
        return self._labels

    def _one(self, row: int) -> Tensor:
        name, where = self.files.name(row), str(self.files.source.path)
        try:
            image, size = pixels.decode(self.files.read(row), self.options, self.box)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise nearly anything on damaged files
            raise BadFiles(where, [(name, reason(error))], len(self), every=False) from error
        if image.shape[1:] != self.shape[1:] or image.shape[0] > self.shape[0]:
            raise DataError(
                f"{name} in {where} is {size[0]} × {size[1]} with {image.shape[0]} channels, where the first "
                f"image gave {self.shape[2]} × {self.shape[1]} with {self.shape[0]}.",
                "Set --dataset.size N and --dataset.channels rgb.",
            )
        return image.expand(*self.shape)


def from_files(train: Files, test: Files, options: ImageOptions, box: Box | None = None) -> ImageDataset:
    """The data set of these files. Bad files are named here, before anything trains: all of them, or of
    very many those in a sample.
    """
    how = options if isinstance(options, FileOptions) else FileOptions()
    parts = [part if options.limit is None else _fair_sample(part, options.limit) for part in (train, test)]
    where = " and ".join(dict.fromkeys(str(part.source.path) for part in parts))
    present = [set() if p.codes is None else {p.classes[c] for c in np.unique(p.codes)} for p in parts]
    classes = tuple(sorted(set().union(*present)))
    labels = [_labels(part, classes) for part in parts]
    splits: list[Split]
    shape = _first_shape(parts, where, options, box)
    if math.prod(shape) * sum(map(len, parts)) <= how.memory * 2**30:
        shape, tensors = _decoded(parts, where, shape, options, box)
        splits = [
            MemorySplit(
                pixels.finished(images, options),
                y,
                levels=pixels.levels(options),
                flip=options.flip,
                names=part.names,
            )
            for images, y, part in zip(tensors, labels, parts, strict=True)
        ]
    else:
        if how.verify:
            shape = scan(_looked_at(parts, where, how.verify_limit), options, box).one_shape(where)
        splits = [FileSplit(part, y, shape, options, box) for part, y in zip(parts, labels, strict=True)]
    shape = (shape[0], shape[1] + 2 * options.pad, shape[2] + 2 * options.pad)
    return ImageDataset(shape, *splits, classes=classes, levels=pixels.levels(options))


def _first_shape(parts: list[Files], where: str, options: ImageOptions, box: Box | None) -> Shape:
    """(C, H, W) of the first image that can be read."""
    bad = []
    for part in parts:
        for i in range(len(part)):
            try:
                return tuple(pixels.decode(part.read(i), options, box)[0].shape)
            except MemoryError:
                raise
            except Exception as error:  # decoders raise nearly anything on damaged files
                bad.append((part.name(i), reason(error)))
    raise BadFiles(where, bad, len(bad))


def _decoded(
    parts: list[Files], where: str, shape: Shape, options: ImageOptions, box: Box | None
) -> tuple[Shape, list[Tensor]]:
    """Every part as (N, C, H, W) uint8. Grey images among coloured ones become three channels."""
    tensors = [torch.empty(len(part), *shape, dtype=torch.uint8) for part in parts]

    def keep(number: int, i: int, image: Tensor) -> None:
        images = tensors[number]
        if image.shape[1:] == images.shape[2:] and image.shape[0] <= images.shape[1]:
            images[i] = image

    found = scan(parts, options, box, keep).one_shape(where)
    if found != shape:  # the first image was grey and a later one is not
        return _decoded(parts, where, found, options, box)
    return shape, tensors


def _looked_at(parts: list[Files], where: str, limit: int | None) -> list[Files]:
    """The files to decode before step 0: all, or of more than `limit` a sample, and that is said."""
    total = sum(map(len, parts))
    if limit is None or total <= limit:
        return parts
    sample = [
        p.pick(np.unique(np.linspace(0, len(p) - 1, -(-SAMPLE * len(p) // total)).astype(int))) for p in parts
    ]
    print(
        f"note: {sum(map(len, sample)):,} of the {total:,} images in {where} are decoded now to find bad "
        "ones; `vaebm data check` with the same options decodes all.",
        file=sys.stderr,
    )
    return sample


def _labels(part: Files, classes: tuple[str, ...]) -> Tensor | None:
    """(N,) int64: the position of each file's class among all of them, sorted by name."""
    if part.codes is None:
        return None
    number = [classes.index(name) if name in classes else -1 for name in part.classes]
    return torch.from_numpy(np.array(number, np.int64)[part.codes])


def _fair_sample(part: Files, limit: int) -> Files:
    """`limit` files by the rank of their names, not the first: those would be all of one class."""
    if limit >= len(part):
        return part
    return part.pick(hold_out((f"limit/{name}" for name in part.names), limit)[1])
