"""Samples: a tensor that a notebook shows as a picture."""

from __future__ import annotations

import io
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vaebm_toolkit.errors import DataError
from vaebm_toolkit.evaluation.writing import writer
from vaebm_toolkit.report import pictures

SHOWN = 64
"""images in the picture that a notebook shows"""


class Samples:
    """Images (N, C, H, W) in [0, 1], or vectors (N, D), on the CPU. A notebook shows the first 64 as a grid,
    vectors of the plane as points.

    energies: E of each, (N,), where there is an energy. columns: of the grid, by default ⌈√N⌉. An index gives
    one example, (C, H, W); a slice, a mask or a tensor of indices gives `Samples`:

    >>> dots = Samples(torch.rand(5, 1, 8, 8), energies=torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0]))
    >>> dots[dots.energies.argsort()[:2]]
    2 images of 1 × 8 × 8, mean energy 1.5
    >>> dots[0].shape
    torch.Size([1, 8, 8])
    """

    def __init__(self, tensor: Tensor, *, energies: Tensor | None = None, columns: int | None = None) -> None:
        if tensor.dim() not in (2, 4):
            raise DataError(
                f"Samples are (N, C, H, W) or (N, D), not {tuple(tensor.shape)}.",
                "Add the first axis of a single one: x[None]",
            )
        self.tensor = tensor.detach().cpu()
        self.energies = None if energies is None else energies.detach().cpu()
        self.columns = columns

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W) or (N, D)"""
        return tuple(self.tensor.shape)

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensor.unbind())

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice | Tensor | Sequence[int] | np.ndarray[Any, Any]) -> Samples: ...
    def __getitem__(self, index: Any) -> Tensor | Samples:
        if not isinstance(index, Tensor) or (index.dim() == 0 and not index.is_floating_point()):
            try:
                return self.tensor[operator.index(index)]
            except TypeError:
                pass  # a slice or several indices
        if not isinstance(index, slice):
            index = torch.as_tensor(index, device="cpu")
        energies = None if self.energies is None else self.energies[index]
        return Samples(self.tensor[index], energies=energies, columns=self.columns)

    def numpy(self) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
        """Images (N, H, W, C) uint8, as `vaebm sample --out NAME.npz` writes them; vectors as they are."""
        return pictures.to_uint8(self.tensor) if self.tensor.dim() == 4 else self.tensor.numpy()

    def __array__(
        self, dtype: Any = None, copy: bool | None = None
    ) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def pil(self) -> list[Image.Image]:
        """One picture each, pixel by pixel."""
        self._must_be_images()
        return [Image.fromarray(a[..., 0] if a.shape[2] == 1 else a) for a in self.numpy()]

    def grid(self, columns: int | None = None, scale: int | None = None) -> Image.Image:
        """All of them in one picture. scale: pixels per pixel; small images are enlarged by default."""
        self._must_be_images()
        return pictures.grid(self.tensor, self.columns if columns is None else columns, scale)

    def save(self, path: str | Path) -> Path:
        """NAME.png: one picture. NAME.npz: `images` uint8 (N, H, W, C) or `vectors`. Else a folder of PNG."""
        out = Path(path)
        if out.suffix == ".png":
            picture = self.grid() if self.tensor.dim() == 4 else self._points()
            if picture is not None:
                return pictures.save_png(picture, out)
        if out.suffix not in ("", ".npz") or (out.suffix == "" and self.tensor.dim() == 2):
            raise DataError(f"These samples cannot be written as {out.name}.", "Write an array: NAME.npz")
        with writer(out, len(self)) as write:
            write(self.tensor)
        return out

    def __repr__(self) -> str:
        size = " × ".join(map(str, self.shape[1:]))
        what = (
            f"{len(self):,} images of {size}"
            if self.tensor.dim() == 4
            else f"{len(self):,} vectors of {size}"
        )
        if self.energies is None or not len(self):
            return what
        return f"{what}, mean energy {float(self.energies.mean()):.4g}"

    def _repr_png_(self) -> bytes | None:
        if not len(self):
            return None
        if self.tensor.dim() == 2:
            picture = self._points()
        else:
            rows = SHOWN // self.columns * self.columns if self.columns is not None else SHOWN
            picture = self[: max(rows, self.columns or 1)].grid() if self.shape[1] in (1, 3) else None
        if picture is None:
            return None
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()

    def _points(self) -> Image.Image | None:
        return pictures.scatter({"samples": self.tensor}) if self.shape[1:] == (2,) and len(self) else None

    def _must_be_images(self) -> None:
        if self.tensor.dim() != 4 or self.shape[1] not in (1, 3):
            raise DataError(
                f"{self!r} are no pictures: pictures have 1 or 3 channels.", "Use .tensor or .numpy()."
            )
