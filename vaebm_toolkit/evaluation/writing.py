"""Samples to files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vaebm_toolkit.report import pictures
from vaebm_toolkit.training.files import telling_disk_errors, write


@contextmanager
def writer(out: Path, count: int) -> Iterator[Callable[[Tensor], None]]:
    """A function that takes batches; the file format follows from the name of `out`."""
    if out.suffix not in (".npz", ".png"):
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
        return
    kept: list[Tensor] = []
    yield kept.append
    x = torch.cat(kept)
    if out.suffix == ".png":
        pictures.save_png(pictures.grid(x), out)
        return
    buffer = io.BytesIO()
    if x.ndim == 4:
        np.savez_compressed(buffer, images=pictures.to_uint8(x))
    else:
        np.savez_compressed(buffer, vectors=x.numpy())
    write(out, buffer.getvalue())
