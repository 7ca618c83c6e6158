"""One picture of an ablation: the first samples of every row, under its title."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from vaebm_toolkit.ablation.tables import Ablation
from vaebm_toolkit.report.pictures import save_png, tile_scale, titled
from vaebm_toolkit.training.rundir import read_json

LINES = 2
"""lines of a row's picture that are shown"""


def strips_of(ablation: Ablation, seed: Path, target: Path) -> Path | None:
    """The pictures of a seed's rows below each other, written to `target`; None where data are no images."""
    strips: dict[str, Image.Image] = {}
    for row in ablation.rows:
        folder = seed / row.name
        if not (folder / "metrics.json").is_file():
            continue
        shape = read_json(folder / "data.json")["shape"]
        if len(shape) != 3:
            return None
        model = list(read_json(folder / "metrics.json")["figures"])[-1]
        strips.setdefault("held-out data", top_lines(folder / "samples" / "data.png", shape))
        strips[row.title] = top_lines(folder / "samples" / f"{model}.png", shape)
    return save_png(titled(strips), target) if strips else None


def top_lines(file: Path, shape: list[int]) -> Image.Image:
    """The first lines of a grid of images (C, H, W), as `report.pictures.grid` draws it by default."""
    with Image.open(file) as picture:
        height = LINES * (shape[1] * tile_scale(*shape[1:]) + 2) + 2
        return picture.crop((0, 0, picture.width, min(picture.height, height)))
