"""`vaebm data`: the report's numbers and warnings, and the preview."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vaebm_toolkit import DataError
from vaebm_toolkit.builtin.data import digits, folder, gaussians, inspect, npz
from vaebm_toolkit.builtin.data.gaussians import PointSplit
from vaebm_toolkit.builtin.data.memory import ImageDataset, MemorySplit
from vaebm_toolkit.builtin.datasets import DigitsOptions, Gaussians25Options, ImageFolderOptions, NpzOptions


def images(*arrays: Any) -> ImageDataset:
    splits = [MemorySplit(torch.as_tensor(np.asarray(a), dtype=torch.uint8)) for a in arrays]
    return ImageDataset(tuple(splits[0].images.shape[1:]), *splits)


def random_images(seed: int, n: int = 40) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, 6, 6))


def test_digits() -> None:
    report = inspect.check(digits.build(DigitsOptions()))
    train, test = report.splits
    assert (train.count, test.count) == (1437, 360)
    assert (train.low, train.high) == (0, 1)
    assert sum(train.classes) == 1437
    assert test.classes == (36,) * 10
    values, _ = digits.read()
    mean = (train.mean[0] * 1437 + test.mean[0] * 360) / 1797
    assert mean == pytest.approx(values.double().mean().item() / 16, abs=1e-6)
    assert report.warnings == ()
    text = "\n".join(report.lines())
    assert "1 × 8 × 8" in text
    assert "0: 142 / 36" in text


def test_points() -> None:
    report = inspect.check(gaussians.build(Gaussians25Options(train_size=400, test_size=100)))
    assert report.shape == (2,)
    assert len(report.splits[0].mean) == 2
    assert sum(report.splits[1].classes) == 100
    assert "and 5 more with" in "\n".join(report.lines())


def test_warnings_name_files(folder_of_traps: Path) -> None:
    report = inspect.check(folder.build(ImageFolderOptions(path=str(folder_of_traps))))
    text = "\n".join(report.warnings)
    assert "train images have one colour throughout, e.g. train/flat.png" in text
    assert "train examples equal an earlier one, e.g. train/b.png and train/a.png" in text
    assert "test examples are also in training, e.g. test test/leak.png and train train/c.png" in text
    assert "All images are grey but stored as colour" in text
    assert "fewer than the recipes' batches" in text


@pytest.fixture
def folder_of_traps(folder: Any, make_picture: Any) -> Path:
    def grey(seed: int) -> Image.Image:
        return make_picture(seed, mode="L").convert("RGB")

    train = {f"train/{name}.png": grey(i) for i, name in enumerate("acdef")}
    train |= {"train/b.png": grey(0), "train/flat.png": Image.new("RGB", (8, 8), "white")}
    return folder(train | {"test/leak.png": grey(1), "test/new.png": grey(99)})


def test_almost_black_images() -> None:
    report = inspect.check(images(random_images(0) // 128, random_images(1)))
    assert any("pixels stored as 0..1" in w for w in report.warnings)


def test_absent_class(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "train.npz",
        images=random_images(0).transpose(0, 2, 3, 1).astype("uint8"),
        labels=np.arange(40),
    )
    np.savez(
        tmp_path / "test.npz",
        images=random_images(1).transpose(0, 2, 3, 1).astype("uint8"),
        labels=np.arange(40) // 2,
    )
    report = inspect.check(npz.build(NpzOptions(path=str(tmp_path))))
    assert any("test split has no example of 20 classes, e.g. 20" in w for w in report.warnings)


def test_values_that_are_not_finite() -> None:
    data = gaussians.build(Gaussians25Options(train_size=40, test_size=40))
    data.train.points[3, 1] = float("nan")
    assert any("NaN" in w and "e.g. 3" in w for w in inspect.check(data).warnings)


def test_preview_shows_the_images(tmp_path: Path) -> None:
    data = images(random_images(0), random_images(1))
    path = inspect.preview(data, tmp_path / "new" / "grid.png", 9)
    shown = np.asarray(Image.open(path))
    scale, gap = 11, 2  # 6 pixels are enlarged to about 64
    assert shown.shape == (3 * (6 * scale + gap) + gap,) * 2 + (3,)
    first = shown[gap : gap + 6 * scale : scale, gap : gap + 6 * scale : scale]
    stored = data.train.images.permute(0, 2, 3, 1).numpy()
    assert any(np.array_equal(first, image) for image in stored)
    again = inspect.preview(data, tmp_path / "again.png", 9)
    assert path.read_bytes() == again.read_bytes()


def test_preview_of_points_and_of_other_shapes(tmp_path: Path) -> None:
    data = gaussians.build(Gaussians25Options(train_size=400, test_size=100))
    assert Image.open(inspect.preview(data, tmp_path / "points.png")).size[0] > 600
    points = PointSplit(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    data.shape, data.train, data.test = (3,), points, points
    with pytest.raises(DataError, match="no picture"):
        inspect.preview(data, tmp_path / "x.png")
