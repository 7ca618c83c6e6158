"""Samples to files, batch by batch: memory does not grow with their number."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vaebm_toolkit.report import pictures
from vaebm_toolkit.training.files import telling_disk_errors, write, written_at_once

Write = Callable[[Tensor], None]
"""Takes a batch (B, *data shape)."""


def writer(out: Path, count: int) -> AbstractContextManager[Write]:
    """A function that takes batches of `count` samples in all; the format follows from the name of `out`."""
    if out.suffix == ".npz":
        return array(out, count)
    return grid(out) if out.suffix == ".png" else folder(out)


@contextmanager
def folder(out: Path) -> Iterator[Write]:
    """One PNG file per image."""
    with telling_disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    place = 0

    def one_by_one(x: Tensor) -> None:
        nonlocal place
        for image in pictures.to_uint8(x):
            buffer = io.BytesIO()
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, "PNG")
            write(out / f"{place:06d}.png", buffer.getvalue())
            place += 1

    yield one_by_one


@contextmanager
def grid(out: Path) -> Iterator[Write]:
    """All images in one picture, which is held in memory."""
    kept: list[Tensor] = []
    yield kept.append
    pictures.save_png(pictures.grid(torch.cat(kept)), out)


@contextmanager
def array(out: Path, count: int) -> Iterator[Write]:
    """A compressed npz as `np.savez_compressed` makes it: `images` uint8 (N, H, W, C), or `vectors`."""
    with written_at_once(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        member: Any = None

        def append(x: Tensor) -> None:
            nonlocal member
            name, rows = ("images", pictures.to_uint8(x)) if x.ndim == 4 else ("vectors", x.numpy())
            if member is None:
                member = archive.open(f"{name}.npy", "w", force_zip64=True)
                header = {"descr": rows.dtype.str, "fortran_order": False, "shape": (count, *rows.shape[1:])}
                np.lib.format.write_array_header_1_0(member, header)
            member.write(np.ascontiguousarray(rows).data)

        try:
            yield append
        finally:
            if member is not None:
                member.close()
