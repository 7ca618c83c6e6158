"""What people have at hand (tensors, arrays, pictures, files) as the batch that a network takes.

The model knows its own shape (C, H, W), so the layout is read off the shape: torch tensors are (B, C, H, W)
or (C, H, W); numpy arrays may have their channels first or last, or leave a single one out. The dtype says
the scale: uint8 is 0..255, floating point is [0, 1]. What fits no layout, or two, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vaebm_toolkit.builtin.data import pixels
from vaebm_toolkit.builtin.datasets import ImageOptions
from vaebm_toolkit.core.interfaces import Bounds
from vaebm_toolkit.errors import DataError
from vaebm_toolkit.notebook.samples import Samples

Shape = tuple[int, ...]

One: TypeAlias = "Tensor | np.ndarray[Any, Any] | Image.Image | str | Path"
Examples: TypeAlias = "One | Samples | Sequence[One] | Sequence[Sequence[float]]"
"""Examples in any of these forms."""

SLACK = 1e-4
"""how far values may leave the data's range, in its units: what rounding does"""


def batch(x: Examples, shape: Shape, bounds: Bounds, like: Tensor) -> Tensor:
    """(B, *shape) on `like`'s device and in its dtype; a DataError says what does not fit, and what would."""
    found = any_form(x, shape)
    if not len(found):
        raise DataError("x is empty.", "Give at least one example.")
    found = found.to(like.device, like.dtype)
    if not torch.isfinite(found).all():
        raise DataError("Some values of x are NaN or infinite.", "Leave those examples out.")
    if bounds is not None and found.numel():
        low, high = found.detach().min().item(), found.detach().max().item()
        if low < bounds[0] - SLACK or high > bounds[1] + SLACK:
            raise DataError(
                f"The values of x run from {low:.4g} to {high:.4g}; this model's data are in "
                f"[{bounds[0]:g}, {bounds[1]:g}].",
                "Divide by 255, or give uint8." if high > 2 * bounds[1] else "From [−1, 1]: (x + 1) / 2",
            )
    return found


def any_form(x: Examples, shape: Shape) -> Tensor:
    """(B, *shape); images of bytes divided by 255."""
    if isinstance(x, Samples):
        return from_tensor(x.tensor, shape)
    if isinstance(x, Tensor):
        return unit(from_tensor(x, shape), shape)
    if isinstance(x, np.ndarray):
        return unit(from_array(x, shape), shape)
    if isinstance(x, Image.Image):
        return unit(from_picture(x, shape), shape)
    if isinstance(x, str | Path):
        return unit(from_file(Path(x), shape), shape)
    if isinstance(x, Sequence) and len(x):
        if isinstance(x[0], int | float | Sequence) and not isinstance(x[0], str):
            return from_array(np.asarray(x, dtype=np.float64), shape)
        return torch.cat([any_form(one, shape) for one in x])  # type: ignore[arg-type]
    raise DataError(
        f"x is {'an empty list' if isinstance(x, Sequence) else f'a {type(x).__name__}'}.",
        "Give a tensor, an array, a PIL image, a file's path, or a list of those.",
    )


def unit(x: Tensor, shape: Shape) -> Tensor:
    return x.float() / 255 if x.dtype == torch.uint8 and len(shape) == 3 else x


def from_tensor(x: Tensor, shape: Shape) -> Tensor:
    """(B, *shape) or (*shape); uint8 or floating point for images."""
    known(str(x.dtype).removeprefix("torch."), x.is_floating_point(), x.dtype == torch.uint8, shape)
    if tuple(x.shape) == shape:
        return x[None]
    if x.dim() == len(shape) + 1 and tuple(x.shape[1:]) == shape:
        return x
    hint = "A tensor has its channels first: x.movedim(-1, -3)" if len(shape) == 3 else ""
    if len(shape) == 3 and tuple(x.shape[-2:]) == shape[1:] and x.dim() < 4 and shape[0] == 1:
        hint = "Add the channel: x.unsqueeze(-3)"
    elif len(shape) != 3 or sorted(x.shape[-3:]) != sorted(shape):
        hint = size_hint(shape)
    raise wrong_size(x.shape, shape, hint)


def from_array(x: np.ndarray[Any, Any], shape: Shape) -> Tensor:
    """Channels first, channels last, or without the single channel; one example or several."""
    known(str(x.dtype), np.issubdtype(x.dtype, np.floating), x.dtype == np.uint8, shape)
    x = np.ascontiguousarray(x)
    if len(shape) != 3:
        return from_tensor(torch.from_numpy(x), shape)
    channels, height, width = shape
    first = x.shape[-3:] == shape and x.ndim in (3, 4)
    last = x.shape[-3:] == (height, width, channels) and x.ndim in (3, 4)
    without = channels == 1 and x.shape[-2:] == (height, width) and x.ndim in (2, 3) and not first
    if first and last and shape != (1, 1, 1):
        raise DataError(
            f"An array of shape {x.shape} may have its channels first or last.",
            "Give a torch tensor, which has them first: torch.from_numpy(x)",
        )
    if without:
        return torch.from_numpy(x.reshape(-1, 1, height, width))
    if first or last:
        images = torch.from_numpy(x if first else np.ascontiguousarray(np.moveaxis(x, -1, -3)))
        return images.reshape(-1, *shape)
    raise wrong_size(x.shape, shape, size_hint(shape))


def known(name: str, floating: bool, bytes_: bool, shape: Shape) -> None:
    """Images of other integers have no known scale."""
    if len(shape) == 3 and not (floating or bytes_):
        raise DataError(
            f"x is {name}; images are uint8 in 0..255, or floating point in [0, 1].",
            "Convert it: x.astype('uint8'), or x / 255",
        )


def from_picture(image: Image.Image, shape: Shape) -> Tensor:
    """(1, C, H, W) uint8, in grey or in colour as the model wants it; transparency is laid over white."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise DataError(f"This model is for {words(shape)}, not for pictures.", f"Give {forms(shape)}.")
    if (image.height, image.width) != shape[1:]:
        raise DataError(
            f"The picture has {image.width} × {image.height} pixels; this model is for "
            f"{shape[2]} × {shape[1]}.",
            f"Resize it: image.resize(({shape[2]}, {shape[1]}))",
        )
    return pixels.to_tensor(pixels.as_mode(image, "grey" if shape[0] == 1 else "rgb"))[None]


def from_file(path: Path, shape: Shape) -> Tensor:
    """An image file as data sets of files read it."""
    if not path.is_file():
        raise DataError(f"There is no file {path}.", "Give the path of an image, or a tensor or an array.")
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise DataError(f"This model is for {words(shape)}, not for pictures.", f"Give {forms(shape)}.")
    try:
        found, _ = pixels.decode(path.read_bytes(), ImageOptions(channels="grey" if shape[0] == 1 else "rgb"))
    except (OSError, ValueError) as e:
        raise DataError(f"{path} is not an image that can be read: {e}.", "Give a PNG or JPEG file.") from e
    if tuple(found.shape) != shape:
        raise DataError(
            f"{path} has {found.shape[2]} × {found.shape[1]} pixels; this model is for "
            f"{shape[2]} × {shape[1]}.",
            f"Resize it: PIL.Image.open({str(path)!r}).resize(({shape[2]}, {shape[1]}))",
        )
    return found[None]


def wrong_size(found: Sequence[int], shape: Shape, hint: str) -> DataError:
    return DataError(f"x has shape {tuple(found)}; this model is for {words(shape)}: {forms(shape)}.", hint)


def size_hint(shape: Shape) -> str:
    resize = f"torch.nn.functional.interpolate(x, size={shape[1:]}, antialias=True, mode='bilinear')"
    return f"Resize images (B, C, H, W): {resize}" if len(shape) == 3 else ""


def words(shape: Shape) -> str:
    """images of 1 × 8 × 8"""
    return f"{'images' if len(shape) == 3 else 'vectors'} of {' × '.join(map(str, shape))}"


def forms(shape: Shape) -> str:
    """(B, 1, 8, 8) or (1, 8, 8)"""
    inner = ", ".join(map(str, shape))
    return f"(B, {inner}) or ({inner}{',' if len(shape) == 1 else ''})"
