"""What a notebook shows, and what is behind it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaebm_toolkit as vt


def picture(samples: vt.Samples) -> Image.Image:
    png = samples._repr_png_()
    assert png is not None
    return Image.open(io.BytesIO(png))


@pytest.fixture
def images() -> vt.Samples:
    """Sample i has the grey value i / 255, and the energy −i."""
    values = torch.arange(100).view(-1, 1, 1, 1) / 255
    return vt.Samples(values.expand(-1, 1, 4, 6), energies=-torch.arange(100.0))


def test_indices(images: vt.Samples) -> None:
    assert len(images) == 100
    assert images.shape == (100, 1, 4, 6)
    assert images.energies is not None
    for i in (3, np.int64(3), torch.tensor(3)):
        assert torch.equal(images[i], images.tensor[3])
    assert torch.equal(images[-1], images.tensor[99])
    least = images[images.energies.argsort()[:2]]
    assert torch.equal(least.tensor, images.tensor[[99, 98]])
    assert torch.equal(images[images.energies > -3].tensor, images.tensor[:3])
    for index in (slice(2, 4), [2, 3], np.array([2, 3]), torch.tensor([2, 3])):
        some = images[index]
        assert torch.equal(some.tensor, images.tensor[2:4])
        assert some.energies is not None
        assert some.energies.tolist() == [-2, -3]
    assert [int(255 * x.mean()) for x in images][:3] == [0, 1, 2]
    with pytest.raises(IndexError):
        images[100]


def test_arrays_and_pictures(images: vt.Samples) -> None:
    array = np.asarray(images)
    assert (array.dtype, array.shape) == (np.uint8, (100, 4, 6, 1))
    assert array[7].max() == array[7].min() == 7
    assert np.asarray(images, dtype=float).dtype == float
    pil = images.pil()
    assert (len(pil), pil[7].size, pil[7].mode, pil[7].getpixel((0, 0))) == (100, (6, 4), "L", 7)
    assert images.grid(columns=10, scale=1).size == (10 * 8 + 2, 10 * 6 + 2)
    colours = vt.Samples(torch.rand(2, 3, 4, 4))
    assert colours.pil()[0].mode == colours.grid().mode == "RGB"


def test_a_notebook_shows_at_most_64(images: vt.Samples) -> None:
    assert picture(images).size == picture(images[:64]).size
    assert picture(images[:64]).size != picture(images[:16]).size
    paths = vt.Samples(images.tensor[:30], columns=10)
    assert picture(paths).size == paths.grid().size == paths.grid(columns=10).size
    assert vt.Samples(images.tensor[:0])._repr_png_() is None


def test_points_and_what_has_no_picture() -> None:
    points = vt.Samples(torch.rand(50, 2))
    assert picture(points).width > 300
    assert np.array_equal(points.numpy(), points.tensor.numpy())
    for dull in (vt.Samples(torch.rand(5, 3)), vt.Samples(torch.rand(5, 2, 4, 4))):
        assert dull._repr_png_() is None
        with pytest.raises(vt.DataError, match="1 or 3 channels"):
            dull.pil()
    with pytest.raises(vt.DataError, match="first axis"):
        vt.Samples(torch.rand(1, 8, 8))


def test_texts(images: vt.Samples) -> None:
    assert repr(images) == "100 images of 1 × 4 × 6, mean energy -49.5"
    assert repr(vt.Samples(torch.rand(2000, 2))) == "2,000 vectors of 2"


def test_files(images: vt.Samples, tmp_path: Path) -> None:
    assert Image.open(images.save(tmp_path / "a.png")).size == images.grid().size
    assert np.array_equal(np.load(images.save(str(tmp_path / "a.npz")))["images"], images.numpy())
    folder = images[:3].save(tmp_path / "folder")
    assert [np.asarray(Image.open(f)).max() for f in sorted(folder.iterdir())] == [0, 1, 2]
    points = vt.Samples(torch.rand(50, 2))
    assert Image.open(points.save(tmp_path / "p.png")).width > 300
    assert np.array_equal(np.load(points.save(tmp_path / "p.npz"))["vectors"], points.tensor)
    for samples, name in ((images, "a.jpg"), (points, "folder"), (vt.Samples(torch.rand(2, 3)), "v.png")):
        with pytest.raises(vt.DataError, match="cannot be written"):
            samples.save(tmp_path / name)


def test_a_gradient_is_not_kept() -> None:
    assert not vt.Samples(torch.rand(2, 2, requires_grad=True)).tensor.requires_grad
