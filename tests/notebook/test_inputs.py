"""Examples in every form that people have them in; what may mean two things is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vaebm_toolkit as vt
from vaebm_toolkit.notebook.inputs import batch

LIKE = torch.zeros(1, dtype=torch.float32)
BYTES = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
UNIT = torch.from_numpy(BYTES).permute(0, 3, 1, 2).float() / 255
COLOUR, GREY = (3, 6, 5), (1, 6, 5)


def images(x: Any, shape: tuple[int, ...] = COLOUR) -> torch.Tensor:
    return batch(x, shape, (0.0, 1.0), LIKE)


def forms(folder: Path) -> dict[str, Any]:
    """The same four colour images."""
    pil = [Image.fromarray(a) for a in BYTES]
    files = [folder / f"{i}.png" for i in range(4)]
    for image, file in zip(pil, files, strict=True):
        image.save(file)
    first = BYTES.transpose(0, 3, 1, 2)
    return {
        "tensor": UNIT, "float64": UNIT.double(), "bytes tensor": torch.from_numpy(BYTES).permute(0, 3, 1, 2),
        "array": BYTES, "channels first": first, "floats": BYTES / 255, "floats first": first / 255,
        "pil": pil, "files": files, "paths": [str(f) for f in files], "samples": vt.Samples(UNIT),
        "tensors": list(UNIT), "arrays": list(BYTES), "tuple": tuple(UNIT),
        "mixed": [UNIT[0], BYTES[1], pil[2], files[3]], "strided": BYTES[::-1][::-1],
    }  # fmt: skip


def test_all_forms_are_the_same_batch(tmp_path: Path) -> None:
    for name, x in forms(tmp_path).items():
        found = images(x)
        assert found.dtype == torch.float32, name
        torch.testing.assert_close(found, UNIT, atol=1e-6, rtol=0, msg=name)
    for one in (UNIT[0], BYTES[0], Image.fromarray(BYTES[0]), tmp_path / "0.png", str(tmp_path / "0.png")):
        torch.testing.assert_close(images(one), UNIT[:1])


def test_grey_images() -> None:
    grey = BYTES[..., :1]
    expected = UNIT[:, :1]
    for x in (
        grey,
        grey[..., 0],
        grey.transpose(0, 3, 1, 2),
        grey[..., 0] / 255,
        expected,
        list(grey[..., 0]),
    ):
        torch.testing.assert_close(images(x, GREY), expected)
    for one in (grey[0], grey[0, ..., 0], Image.fromarray(grey[0, ..., 0]), expected[0]):
        torch.testing.assert_close(images(one, GREY), expected[:1])
    luma = np.asarray(Image.fromarray(BYTES[0]).convert("L"))
    torch.testing.assert_close(
        images(Image.fromarray(BYTES[0]), GREY)[0, 0], torch.tensor(luma).float() / 255
    )
    clear = Image.new("RGBA", (5, 6), (0, 0, 0, 0))
    assert images(clear).min() == images(clear, GREY).min() == 1, "transparency is laid over white"


@given(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)), st.integers(1, 3), st.booleans())
def test_no_layout_is_guessed(shape: tuple[int, int, int], count: int, last: bool) -> None:
    """An array is taken as what it is, or refused where its shape fits both layouts."""
    x = np.random.default_rng(0).random((count, *shape)).astype(np.float32)
    given_ = np.moveaxis(x, 1, -1) if last else x
    ambiguous = shape == (shape[1], shape[2], shape[0]) and len(set(shape)) == 1 and shape[0] > 1
    if ambiguous:
        with pytest.raises(vt.DataError, match="first or last"):
            images(given_, shape)
    else:
        assert np.array_equal(images(given_, shape).numpy(), x)


def test_vectors() -> None:
    points = [[0.0, 1.0], [-2.0, 3.0]]
    for x in (
        points,
        np.array(points),
        torch.tensor(points),
        torch.tensor(points).int(),
        vt.Samples(torch.tensor(points)),
    ):
        found = batch(x, (2,), None, LIKE)
        assert found.tolist() == points
        assert found.dtype == torch.float32
    assert batch([5.0, 6.0], (2,), None, LIKE).tolist() == [[5.0, 6.0]]
    with pytest.raises(vt.DataError, match="not for pictures"):
        batch(Image.new("L", (2, 2)), (2,), None, LIKE)
    with pytest.raises(vt.DataError, match=r"\(B, 2\) or \(2,\)"):
        batch(torch.rand(3, 3), (2,), None, LIKE)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.rand(2, 3, 8, 8), "Resize"),
        (torch.rand(2, 6, 5, 3), "x.movedim"),
        (np.zeros((2, 5, 6, 3), np.uint8), "this model is for images of 3 × 6 × 5"),
        (UNIT * 255, "Divide by 255"),
        (UNIT * 2 - 1, r"\(x \+ 1\) / 2"),
        (torch.zeros(3, 6, 5, dtype=torch.int64), "x is int64"),
        (BYTES > 5, "x is bool"),
        (UNIT / 0, "NaN or infinite"),
        (UNIT[:0], "x is empty"),
        ([], "an empty list"),
        (5, "x is a int"),
        (None, "x is a NoneType"),
        ({"x": UNIT}, "x is a dict"),
        ("no such file.png", "There is no file"),
        (Image.new("RGB", (6, 5)), r"image.resize\(\(5, 6\)\)"),
        ([UNIT[0], torch.rand(3, 8, 8)], "Resize"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(x: Any, says: str) -> None:
    with pytest.raises(vt.DataError, match=says):
        images(x)


def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(vt.DataError, match="not an image that can be read"):
        images(tmp_path / "x.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "y.png")
    with pytest.raises(vt.DataError, match="9 × 9 pixels"):
        images(tmp_path / "y.png")


def test_gradients_pass() -> None:
    x = UNIT.clone().requires_grad_()
    images(x).sum().backward()
    assert x.grad is not None
