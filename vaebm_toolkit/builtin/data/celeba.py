"""CelebA's aligned faces, cropped as NVAE crops them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vaebm_toolkit.builtin.data.download import fetch, missing
from vaebm_toolkit.builtin.data.files import from_files
from vaebm_toolkit.builtin.data.memory import ImageDataset
from vaebm_toolkit.builtin.data.sources import open_source
from vaebm_toolkit.builtin.data.tree import Files
from vaebm_toolkit.builtin.datasets import CelebaOptions
from vaebm_toolkit.errors import DataError

BOX = (15, 40, 163, 188)
"""left, upper, right, lower of the 148 × 148 face in the 178 × 218 image (NVAE)"""
PARTITION = "list_eval_partition.txt"
TRAIN, TEST = "0", "2"


def build(options: CelebaOptions) -> ImageDataset:
    """Train and test as in the official partition; its validation part is left out."""
    root = Path(options.root).expanduser()
    if (found := _place(root)) is None and options.download:
        from torchvision.datasets import CelebA

        fetch("celeba", root, lambda: CelebA(root, split="all", target_type=[], download=True))
        found = _place(root)
    if found is None:
        looked = ["celeba/img_align_celeba/*.jpg or celeba/img_align_celeba.zip", f"celeba/{PARTITION}"]
        raise missing("celeba", root, looked)
    images, partition = found
    source = open_source(images)
    stored = {name.rpartition("/")[2]: row for row, name in enumerate(source.names)}
    wanted = _partition(partition)
    absent = [name for name in wanted if name not in stored]
    if absent:
        raise DataError(
            f"{images} lacks {len(absent)} of the {len(wanted)} images that {partition.name} lists, "
            f"the first is {absent[0]}.",
            "Unpack img_align_celeba.zip again, or fetch it: --dataset.download true",
        )
    train, test = (
        Files(source, np.array([stored[name] for name, part in wanted.items() if part == chosen], np.int64))
        for chosen in (TRAIN, TEST)
    )
    if not len(train) or not len(test):
        raise DataError(f"{partition} assigns no image to the training or the test part.", "Copy it again.")
    return from_files(train, test, options, box=BOX)


def _place(root: Path) -> tuple[Path, Path] | None:
    """The images' folder or zip, and the partition file beside it."""
    for at in (root / "celeba", root):
        images = next((p for p in (at / "img_align_celeba", at / "img_align_celeba.zip") if p.exists()), None)
        if images is not None and (at / PARTITION).is_file():
            return images, at / PARTITION
    return None


def _partition(path: Path) -> dict[str, str]:
    """File name -> "0" (training), "1" (validation) or "2" (test)."""
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    if not rows or any(len(row) != 2 for row in rows):
        raise DataError(
            f"{path} is not CelebA's partition: lines `000001.jpg 0` belong there.", "Copy it again."
        )
    return {name: part for name, part in rows}
