"""What can be wrong with arrays in an .npz, each with the NumPy line that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vaebm_toolkit.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]


def images_error(images: Array, path: Path) -> DataError | None:
    """What keeps `images` from being uint8 (N, H, W, C) with C = 1 or 3, or (N, H, W)."""
    found = f"{path}: `images` is {images.dtype} {images.shape}"
    if (fault := _shape_error(images, found, path)) is not None:
        return fault
    return None if images.dtype == np.uint8 else _dtype_error(images, found, path)


def labels_error(labels: Array, count: int, path: Path) -> DataError | None:
    """What keeps `labels` from being one whole number ≥ 0 for each image."""
    found = f"{path}: `labels` is {labels.dtype} {labels.shape}"
    if labels.size != count or labels.shape[:1] != (count,):
        return DataError(
            f"{found} for {count} images; one label per image is needed.",
            "Write labels of shape (N,), or leave `labels` out.",
        )
    if not np.issubdtype(labels.dtype, np.integer) or (count and labels.min() < 0):
        return DataError(
            f"{found}; labels are whole numbers from 0.",
            "Convert them: labels = np.unique(labels, return_inverse=True)[1]",
        )
    return None


def _shape_error(images: Array, found: str, path: Path) -> DataError | None:
    shape = images.shape
    if 0 in shape:
        return DataError(f"{found}: there are no images in it.", "Write the file again with images in it.")
    if len(shape) == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
        return DataError(
            f"{found}; it seems to be (N, C, H, W), and (N, H, W, C) is read.",
            _save(path, "images.transpose(0, 2, 3, 1)"),
        )
    if len(shape) == 4 and shape[3] in (2, 4):
        keep = "images[..., :3]" if shape[3] == 4 else "images[..., :1]"
        return DataError(f"{found}: {shape[3]} channels; 1 or 3 are read.", _save(path, keep))
    if len(shape) == 2:
        side = round(shape[1] ** 0.5)
        square, colour = side * side == shape[1], round((shape[1] / 3) ** 0.5)
        to = f"(-1, {side}, {side})" if square else f"(-1, {colour}, {colour}, 3)"
        return DataError(f"{found}: rows, not images.", _save(path, f"images.reshape{to}"))
    if len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3)):
        return None
    return DataError(
        f"{found}; (N, H, W, C) with C = 1 or 3, or (N, H, W), is read.",
        _save(path, "array"),
    )


def _dtype_error(images: Array, found: str, path: Path) -> DataError:
    if images.dtype == np.bool_:
        return DataError(f"{found}; uint8 is read.", _save(path, '255 * images.astype("uint8")'))
    if not (np.issubdtype(images.dtype, np.floating) or np.issubdtype(images.dtype, np.integer)):
        return DataError(f"{found}; uint8 is read.", _save(path, "array"))
    if np.issubdtype(images.dtype, np.floating):
        bad = ~np.isfinite(images).reshape(len(images), -1).all(1)
        if bad.any():
            return DataError(
                f"{found}; {int(bad.sum())} of {len(images)} images hold NaN or infinite values, the first "
                f"is image {int(bad.argmax())}.",
                "Mend or drop them, then write uint8: "
                "images = images[np.isfinite(images).reshape(len(images), -1).all(1)]",
            )
    low, high = images.min(), images.max()
    if np.issubdtype(images.dtype, np.integer):
        convert = 'images.astype("uint8")' if low >= 0 and high <= 255 else "…"
    elif low >= 0 and high <= 1:
        convert = 'np.round(255 * images).astype("uint8")'
    elif low >= -1 and high <= 1:
        convert = 'np.round(127.5 * (images + 1)).astype("uint8")'
    elif low >= 0 and high <= 255:
        convert = 'np.round(images).astype("uint8")'
    else:
        convert = 'np.round(255 * (images - images.min()) / np.ptp(images)).astype("uint8")'
    if convert == "…":
        convert = '(255 * (images - images.min()) // np.ptp(images)).astype("uint8")'
    return DataError(f"{found} with values from {low:g} to {high:g}; uint8 is read.", _save(path, convert))


def _save(path: Path, expression: str) -> str:
    return f'Convert it: np.savez("{path.stem}-uint8.npz", images={expression})'
