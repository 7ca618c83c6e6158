"""Pictures as data URIs, with what stands beside them on the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vaebm_toolkit.report.charts import short
from vaebm_toolkit.report.drawing import Chains
from vaebm_toolkit.report.pictures import INK, Limits, Opacity, Plane, dots, shades, to_uint8

LOSSLESS = 64  # pixels of the longer side up to which images are PNG; larger ones are JPEG


class Tile(NamedTuple):
    """One small picture."""

    src: str
    alt: str
    label: str
    """what stands below it; "" for nothing"""


class Tiles(NamedTuple):
    title: str
    caption: str
    tiles: list[Tile]
    columns: int


class Film(NamedTuple):
    """Chains as rows, steps as columns."""

    steps: list[int]
    rows: list[list[Tile]]
    caption: str


class Panel(NamedTuple):
    """A picture of the plane."""

    src: str
    alt: str
    title: str


def how_many(shape: Sequence[int]) -> int:
    """Images of this size in one grid, so that a page stays small."""
    side = max(shape[1:])
    return 64 if side <= 32 else 36 if side <= LOSSLESS else 16


def image_uri(image: Image.Image, lossless: bool = True) -> str:
    buffer = io.BytesIO()
    if lossless:
        image.save(buffer, format="PNG", optimize=True)
    else:
        image.save(buffer, format="JPEG", quality=88)
    return (
        f"data:image/{'png' if lossless else 'jpeg'};base64," + base64.b64encode(buffer.getvalue()).decode()
    )


def tile(x: Tensor, alt: str, label: str = "") -> Tile:
    """One image (C, H, W) in [0, 1]; of other than one or three channels the first is shown."""
    shown = x if len(x) in (1, 3) else x[:1]
    pixels = to_uint8(shown[None])[0]
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return Tile(image_uri(image, max(x.shape[1:]) <= LOSSLESS), alt, label)


def kept(file: Path, title: str) -> Panel:
    """A picture on disk."""
    with Image.open(file) as image:
        image.load()
        return Panel(image_uri(image, max(image.size) <= 2048), title, title)


def grid(title: str, caption: str, x: Tensor, energies: Tensor | None, what: str) -> Tiles:
    """The first images of a set, with their energies."""
    count = min(len(x), how_many(x.shape[1:]))
    values = None if energies is None else energies[:count].tolist()
    tiles = [
        tile(x[i], f"{what} {i}{said(values, i)}", "" if values is None else short_energy(values[i]))
        for i in range(count)
    ]
    return Tiles(title, caption, tiles, 8 if count > 36 else 6 if count > 16 else 4)


def by_energy(title: str, x: Tensor, energies: Tensor, what: str, count: int = 12) -> Tiles:
    """Images at evenly spaced ranks of their energies, from the lowest to the highest."""
    count = min(count, len(x))
    order = energies.argsort()
    ranks = (torch.arange(count) * (len(x) - 1) / max(count - 1, 1)).round().long()
    values = energies.tolist()
    tiles = [
        tile(x[i], f"{what} {i}{said(values, i)}, rank {r + 1} of {len(x)}", short_energy(values[i]))
        for r, i in zip(ranks.tolist(), order[ranks].tolist(), strict=True)
    ]
    return Tiles(title, f"of {len(x):,}", tiles, count)


def film(chains: Chains, caption: str) -> Film:
    rows = [
        [
            tile(
                frame[i],
                f"Chain {i} at step {k}, energy {short_energy(float(e[i]))}",
                short_energy(float(e[i])),
            )
            for k, frame, e in zip(chains.steps, chains.frames, chains.energies, strict=True)
        ]
        for i in range(len(chains.frames[0]))
    ]
    return Film(chains.steps, rows, caption)


def strip(title: str, x: Tensor, what: str) -> Tiles:
    return Tiles(title, "", [tile(v, f"{what} {i}") for i, v in enumerate(x)], len(x))


def said(values: list[float] | None, i: int) -> str:
    return "" if values is None else f", energy {short_energy(values[i])}"


def short_energy(value: float) -> str:
    """Three digits are enough to compare, two below 1.

    >>> short_energy(-67.2116), short_energy(1234.5), short_energy(-0.3812)
    ('−67.2', '1230', '−0.38')
    """
    return short(float(f"{value:.3g}" if abs(value) >= 1 else f"{value:.2g}"))


def points_panel(title: str, x: Tensor, limits: Limits, size: int = 360) -> Panel:
    """The first two coordinates of points (N, D)."""
    opacity, outside = dots(x[:, :2], size, limits)
    note = f", {outside:,} outside" if outside else ""
    return Panel(
        ink(opacity**0.6),  # so that a single dot is seen
        f"{title}: {len(x):,} points in the plane{note}",
        f"{title} ({len(x):,}{note})",
    )


def density_panel(title: str, density: Plane, limits: Limits, size: int = 360) -> Panel:
    return Panel(ink(shades(density, size, limits)), f"{title}, dark where it is high", title)


def ink(opacity: Opacity) -> str:
    """Ink on nothing, so that the page's own background shows."""
    pixels = np.empty((*opacity.shape, 4), dtype=np.uint8)
    pixels[..., :3] = INK
    pixels[..., 3] = (255 * opacity).round()
    return image_uri(Image.fromarray(pixels, "RGBA"))
