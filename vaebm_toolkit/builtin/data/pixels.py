"""From stored pixels to the tensor that a split holds: colour, crop, size, bits, padding."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from vaebm_toolkit.builtin.datasets import Channels, ImageOptions

Box = tuple[int, int, int, int]
"""left, upper, right, lower in pixels, as PIL counts"""


def decode(data: bytes, options: ImageOptions, box: Box | None = None) -> tuple[Tensor, tuple[int, int]]:
    """An image file as (C, H, W) uint8 with C = 1 or 3, and its stored size (width, height).

    Cameras' orientation tags are obeyed, 16-bit greys are cut to 8, transparency is laid over white.
    """
    with Image.open(io.BytesIO(data)) as image:
        size = image.size
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
        picture = as_mode(image if box is None else image.crop(box), options.channels)
    return to_tensor(fit(picture, options.size)), size


def as_mode(image: Image.Image, channels: Channels) -> Image.Image:
    """The image in mode L or RGB."""
    if image.mode == "F":
        raise ValueError("floating-point pixels; images of 8 or 16 bits are read")
    if image.mode.startswith("I"):  # 16 bits: PIL's own conversion clips at 255
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white.convert("L") if image.mode in ("1", "L", "LA", "La") else white
    grey = image.mode in ("1", "L") if channels == "data" else channels == "grey"
    return image.convert("L" if grey else "RGB")


def fit(image: Image.Image, size: int | None) -> Image.Image:
    """Shorter side resized to `size` (bilinear with antialiasing, as NVAE's readers), centre cropped."""
    if size is None:
        return image
    width, height = image.size
    short = min(width, height)
    if short != size:
        image = image.resize((size * width // short, size * height // short), Image.Resampling.BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def to_tensor(image: Image.Image) -> Tensor:
    """(C, H, W) uint8"""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def resized(images: Tensor, size: int | None) -> Tensor:
    """`fit` for a tensor (N, C, H, W) uint8."""
    if size is None or images.shape[2:] == (size, size):
        return images
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
    pictures = (Image.fromarray(a[..., 0] if a.shape[2] == 1 else a) for a in arrays)
    return torch.stack([to_tensor(fit(picture, size)) for picture in pictures])


def with_channels(images: Tensor, channels: Channels) -> Tensor:
    """(N, C, H, W) uint8 with the channels asked for; grey is PIL's ITU-R 601 luma."""
    if channels == "grey" and images.shape[1] == 3:
        weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32).view(1, 3, 1, 1)
        starts = range(0, len(images), 4096)
        sums = (
            (images[i : i + 4096].to(torch.int32) * weights).sum(1, True, dtype=torch.int32) for i in starts
        )
        parts = [(luma + 0x8000) >> 16 for luma in sums]
        return torch.cat(parts).to(torch.uint8)
    if channels == "rgb" and images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    return images


def finished(images: Tensor, options: ImageOptions) -> Tensor:
    """Quantised and padded: values 0..2^bits − 1.

    x = floor(v / 2^(8 − bits)) / (2^bits − 1) for stored v in 0..255, as NVAE quantises; the
    division happens in `batch`.
    """
    if options.bits < 8:
        images = images >> (8 - options.bits)
    if options.pad:
        images = functional.pad(images, [options.pad] * 4)
    return images.contiguous()


def levels(options: ImageOptions) -> int:
    """The value that stands for 1."""
    return (1 << options.bits) - 1
