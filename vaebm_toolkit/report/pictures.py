"""Pictures drawn with PIL alone: grids of images, and points in the plane."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

INK, FRAME, TEXT = (31, 78, 141), (160, 160, 160), (40, 40, 40)
MARGIN, TITLE = 14, 20  # pixels


def grid(images: Tensor, columns: int | None = None, scale: int | None = None, gap: int = 2) -> Image.Image:
    """Images side by side, row by row. images: (N, C, H, W) in [0, 1], C = 1 or 3.

    columns: default ⌈√N⌉. scale: pixels per pixel, nearest neighbour; by default `tile_scale`.
    gap: white pixels between images.
    """
    count, channels, height, width = images.shape
    if channels not in (1, 3):
        raise ValueError(f"A picture has 1 or 3 channels, not {channels}.")
    scale = tile_scale(height, width) if scale is None else scale
    columns = max(1, min(count, math.ceil(math.sqrt(count)) if columns is None else columns))
    rows = max(1, math.ceil(count / columns))
    tile_h, tile_w = height * scale + gap, width * scale + gap
    canvas = np.full((rows * tile_h + gap, columns * tile_w + gap, channels), 255, dtype=np.uint8)
    tiles = to_uint8(images).repeat(scale, axis=1).repeat(scale, axis=2)
    for i, tile in enumerate(tiles):
        top, left = gap + (i // columns) * tile_h, gap + (i % columns) * tile_w
        canvas[top : top + height * scale, left : left + width * scale] = tile
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def to_uint8(images: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(N, C, H, W) in [0, 1] as (N, H, W, C) in 0..255, rounded; NaN becomes 0."""
    values = images.detach().to("cpu", torch.float32).nan_to_num(0.0).clamp(0, 1)
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = (
        values.mul(255).add(0.5).floor().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    )
    return pixels


def tile_scale(height: int, width: int) -> int:
    """Pixels per pixel in a grid: images below 64 pixels are enlarged to about that."""
    return max(1, round(64 / max(height, width)))


def titled(strips: Mapping[str, Image.Image]) -> Image.Image:
    """Pictures below each other, each under its title."""
    width = max(strip.width for strip in strips.values())
    height = sum(strip.height + TITLE for strip in strips.values())
    whole = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), "white")
    draw, top = ImageDraw.Draw(whole), MARGIN
    for title, strip in strips.items():
        draw.text((MARGIN, top + 4), title, fill=TEXT)
        whole.paste(strip, (MARGIN, top + TITLE))
        top += strip.height + TITLE
    return whole


Limits = tuple[float, float, float, float]
"""left, right, bottom, top of a panel, in data units"""
Opacity = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
"""(size, size) in [0, 1]: how dark each pixel is"""
Plane = Callable[[Tensor], Tensor]
"""Points (N, 2) -> a density relative to its largest value, (N,)."""


def scatter(
    points: Mapping[str, Tensor],
    size: int = 320,
    limits: Limits | None = None,
    densities: Mapping[str, Plane] | None = None,
) -> Image.Image:
    """One square panel per name, side by side on common axes. points: name -> (N, 2).

    limits: by default the first entry's range and 15 % around it, so that stray samples do not
    shrink the picture. The title says how many points lie outside. Densities follow the points.
    """
    if limits is None:
        limits = around(next(iter(points.values())))
    panels = [_panel(f"{name} ({len(p):,})", p, size, limits) for name, p in points.items()]
    panels += [_shaded(name, f, size, limits) for name, f in (densities or {}).items()]
    whole = Image.new("RGB", (len(panels) * (size + MARGIN) + MARGIN, size + TITLE + 2 * MARGIN), "white")
    for i, panel in enumerate(panels):
        whole.paste(panel, (MARGIN + i * (size + MARGIN), MARGIN))
    return whole


SHADES = ((158, 202, 225), (107, 174, 214), (33, 113, 181), (8, 48, 107), (217, 95, 2))
"""colours of outlines, light to dark"""


def histograms(
    values: Mapping[str, Tensor], title: str, limits: tuple[float, float], size: int = 320, bins: int = 60
) -> Image.Image:
    """One panel of outlined histograms over `limits`, each scaled to shares. values: name -> (N,).

    Values outside the limits are counted in the outermost bins. At most as many names as SHADES.
    """
    low, high = limits
    shares = {}
    for name, v in values.items():
        inside = v.detach().to("cpu", torch.float64).clamp(low, high)
        shares[name] = torch.histc(inside, bins, low, high) / max(len(inside), 1)
    top = max(float(s.max()) for s in shares.values())
    panel = Image.new("RGB", (size + 2 * MARGIN, size // 2 + 2 * TITLE + MARGIN), "white")
    draw, base = ImageDraw.Draw(panel), TITLE + size // 2
    draw.text((MARGIN, 3), title, fill=TEXT)
    draw.rectangle((MARGIN, TITLE, MARGIN + size - 1, base), outline=FRAME)
    draw.text((MARGIN, base + 3), f"{low:.3g}", fill=TEXT)
    draw.text((MARGIN + size, base + 3), f"{high:.3g}", fill=TEXT, anchor="ra")
    for i, (name, share) in enumerate(shares.items()):
        points = []
        for k, height in enumerate((share / top).tolist()):
            y = base - 0.95 * height * size / 2
            points += [(MARGIN + k * size / bins, y), (MARGIN + (k + 1) * size / bins, y)]
        draw.line(points, fill=SHADES[i], width=2)
        draw.text((MARGIN + size - 6, TITLE + 6 + 13 * i), name, fill=SHADES[i], anchor="ra")
    return panel


def save_png(image: Image.Image, path: str | Path) -> Path:
    """Write the image, and the folders above it."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    image.save(target, format="PNG", optimize=True)
    return target


def around(points: Tensor) -> Limits:
    """The range of points (N, 2), and 15 % around it."""
    low, high = points.detach().double().amin(0), points.detach().double().amax(0)
    margin = (0.15 * (high - low)).clamp(min=1e-6)
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    return left, right, bottom, top


def _panel(title: str, points: Tensor, size: int, limits: Limits) -> Image.Image:
    shown, outside = dots(points, size, limits)
    return _framed(title + (f", {outside:,} outside" if outside else ""), shown)


def dots(points: Tensor, size: int, limits: Limits) -> tuple[Opacity, int]:
    """Points (N, 2) as discs of 1.5 pixels that darken where they overlap; how many lie outside."""
    left, right, bottom, top = limits
    xy = points.detach().to("cpu", torch.float64).numpy()
    inside = (xy[:, 0] >= left) & (xy[:, 0] <= right) & (xy[:, 1] >= bottom) & (xy[:, 1] <= top)
    column = ((xy[inside, 0] - left) / (right - left) * (size - 1)).round().astype(int)
    row = ((top - xy[inside, 1]) / (top - bottom) * (size - 1)).round().astype(int)
    counts = np.zeros((size + 2, size + 2))
    for dy, dx, weight in ((0, 0, 1.0), (0, 1, 0.6), (1, 0, 0.6), (0, -1, 0.6), (-1, 0, 0.6)):
        np.add.at(counts, (row + 1 + dy, column + 1 + dx), weight)
    return 1 - 0.7 ** counts[1:-1, 1:-1], int((~inside).sum())


def _shaded(title: str, density: Plane, size: int, limits: Limits) -> Image.Image:
    return _framed(title, shades(density, size, limits))


def shades(density: Plane, size: int, limits: Limits) -> Opacity:
    """√(density) as darkness, so that little mass between modes is seen; one value per 2 × 2 pixels."""
    left, right, bottom, top = limits
    half = size // 2
    centre = (torch.arange(half, dtype=torch.float64) + 0.5) / half
    y, x = torch.meshgrid(top - centre * (top - bottom), left + centre * (right - left), indexing="ij")
    found = density(torch.stack([x.flatten(), y.flatten()], 1).float())
    values = found.detach().to("cpu", torch.float64).clamp(0, 1).sqrt().view(half, half).numpy()
    coarse = np.zeros((size, size))
    coarse[: 2 * half, : 2 * half] = values.repeat(2, axis=0).repeat(2, axis=1)
    return coarse


def _framed(title: str, opacity: Opacity) -> Image.Image:
    """Ink of that opacity, (size, size) in [0, 1], under its title."""
    size = len(opacity)
    pixels = (255 * (1 - opacity[..., None]) + np.array(INK) * opacity[..., None]).round().astype(np.uint8)
    panel = Image.new("RGB", (size, size + TITLE), "white")
    panel.paste(Image.fromarray(pixels), (0, TITLE))
    draw = ImageDraw.Draw(panel)
    draw.text((1, 3), title, fill=TEXT)
    draw.rectangle((0, TITLE, size - 1, size + TITLE - 1), outline=FRAME)
    return panel
