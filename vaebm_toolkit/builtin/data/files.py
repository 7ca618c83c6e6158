"""From image files to splits: decoded once into memory where they fit, else at every access."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaebm_toolkit.builtin.data import pixels
from vaebm_toolkit.builtin.data.memory import ImageDataset, MemorySplit, mirrored
from vaebm_toolkit.builtin.data.pixels import Box
from vaebm_toolkit.builtin.data.scan import BadFiles, Seen, in_threads, one_shape, reason, scan
from vaebm_toolkit.builtin.data.splitting import hold_out
from vaebm_toolkit.builtin.data.tree import Files
from vaebm_toolkit.builtin.datasets import ImageOptions
from vaebm_toolkit.core import Split
from vaebm_toolkit.errors import DataError

Shape = tuple[int, ...]


class FileSplit(Split):
    """Images decoded when asked for. shape: (C, H, W) before padding, the same for all."""

    def __init__(
        self, files: Files, labels: Tensor | None, shape: Shape, options: ImageOptions, box: Box | None = None
    ) -> None:
        self.files, self._labels, self.shape = files, labels, shape
        self.options, self.box, self.names = options, box, files.names

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W) float32 in [0, 1]."""
        images = torch.stack(list(in_threads(self._one, indices.tolist())))
        x = pixels.finished(images, self.options).to(torch.float32).div_(pixels.levels(self.options))
        return mirrored(x, rng) if self.options.flip and rng is not None else x

    def labels(self) -> Tensor | None:
        return self._labels

    def _one(self, row: int) -> Tensor:
        name, where = self.names[row], str(self.files.source.path)
        try:
            image, size = pixels.decode(self.files.source.read(name), self.options, self.box)
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


def from_files(
    train: Files,
    test: Files,
    options: ImageOptions,
    *,
    memory: float = 4.0,
    verify: bool = True,
    box: Box | None = None,
) -> ImageDataset:
    """The data set of these files. memory: GiB. Bad files are named here, before anything trains."""
    parts = [part if options.limit is None else _fair_sample(part, options.limit) for part in (train, test)]
    where = " and ".join(dict.fromkeys(str(part.source.path) for part in parts))
    classes = tuple(sorted({c for part in parts for c in part.classes or ()}))
    labels = [_labels(part, classes) for part in parts]
    splits: list[Split]
    shape = _first_shape(parts, where, options, box)
    if math.prod(shape) * sum(len(part.names) for part in parts) <= memory * 2**30:
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
        if verify:
            shape = one_shape([s for part in parts for s in scan(part, options, box, None)], where)
        splits = [FileSplit(part, y, shape, options, box) for part, y in zip(parts, labels, strict=True)]
    shape = (shape[0], shape[1] + 2 * options.pad, shape[2] + 2 * options.pad)
    return ImageDataset(shape, *splits, classes=classes, levels=pixels.levels(options))


def _first_shape(parts: list[Files], where: str, options: ImageOptions, box: Box | None) -> Shape:
    """(C, H, W) of the first image that can be read."""
    bad = []
    for part in parts:
        for name in part.names:
            try:
                return tuple(pixels.decode(part.source.read(name), options, box)[0].shape)
            except MemoryError:
                raise
            except Exception as error:  # decoders raise nearly anything on damaged files
                bad.append((name, reason(error)))
    raise BadFiles(where, bad, len(bad))


def _decoded(
    parts: list[Files], where: str, shape: Shape, options: ImageOptions, box: Box | None
) -> tuple[Shape, list[Tensor]]:
    """Every part as (N, C, H, W) uint8. Grey images among coloured ones become three channels."""
    tensors, seen = [], list[Seen]()
    for part in parts:
        images = torch.empty(len(part.names), *shape, dtype=torch.uint8)

        def keep(row: int, image: Tensor, images: Tensor = images) -> None:
            if image.shape[1:] == images.shape[2:] and image.shape[0] <= images.shape[1]:
                images[row] = image

        seen += scan(part, options, box, keep)
        tensors.append(images)
    found = one_shape(seen, where)
    if found != shape:  # the first image was grey and a later one is not
        return _decoded(parts, where, found, options, box)
    return shape, tensors


def _labels(part: Files, classes: tuple[str, ...]) -> Tensor | None:
    """(N,) int64: the position of each file's class folder among all of them, sorted by name."""
    if part.classes is None:
        return None
    number = {name: i for i, name in enumerate(classes)}
    return torch.tensor([number[c] for c in part.classes], dtype=torch.int64)


def _fair_sample(part: Files, limit: int) -> Files:
    """`limit` files by the rank of their names, not the first: those would be all of one class."""
    if limit >= len(part.names):
        return part
    return part.pick(hold_out([f"limit/{name}" for name in part.names], limit)[1])
