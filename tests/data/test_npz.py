"""NumPy archives: what is read, and the line that converts what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaebm_toolkit import DataError
from vaebm_toolkit.builtin.data import npz
from vaebm_toolkit.builtin.datasets import NpzOptions

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 6, 8, 3), dtype=np.uint8)
LABELS = np.arange(20) % 4


def build(path: Path, **options: Any) -> Any:
    return npz.build(NpzOptions(path=str(path), **options))


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def refusal(path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        build(path, **options)
    return caught.value


def everything(split: Any) -> torch.Tensor:
    return split.batch(torch.arange(len(split)))


def test_images_and_labels(tmp_path: Path) -> None:
    data = build(save(tmp_path / "a.npz", images=IMAGES, labels=LABELS), test_share=0.25)
    assert data.shape == (3, 6, 8)
    assert (len(data.train), len(data.test)) == (15, 5)
    assert data.classes == ("0", "1", "2", "3")
    wanted = (torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255).flatten(1).tolist()
    rows = []
    for split in (data.train, data.test):
        found = [wanted.index(x) for x in everything(split).flatten(1).tolist()]
        assert split.labels().tolist() == [LABELS[i] for i in found]
        rows += found
    assert sorted(rows) == list(range(20))


def test_two_axes_are_grey(tmp_path: Path) -> None:
    data = build(save(tmp_path / "a.npz", images=IMAGES[..., 0]))
    assert data.shape == (1, 6, 8)
    assert data.train.labels() is None
    assert data.classes == ()


def test_folder_or_two_files(tmp_path: Path) -> None:
    train = save(tmp_path / "train.npz", images=IMAGES)
    test = save(tmp_path / "test.npz", images=IMAGES[:3])
    for data in (build(tmp_path), build(train, test_path=str(test)), build(train, test_path=str(tmp_path))):
        assert (len(data.train), len(data.test)) == (20, 3)
        assert torch.equal(everything(data.train)[:3], everything(data.test))
    assert len(build(tmp_path, limit=2).test) == 2
    (tmp_path / "test.npz").unlink()
    assert len(build(tmp_path).train) == 18


def test_options_change_the_images(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=IMAGES)
    data = build(path, size=4, pad=1, channels="grey", bits=6, limit=5)
    x = everything(data.train)
    assert data.shape == x.shape[1:] == (1, 6, 6)
    assert len(x) == 5
    assert torch.allclose(x * 63, (x * 63).round(), atol=1e-4)
    again = build(path, size=4, pad=1, channels="grey", bits=6, limit=5)
    assert torch.equal(x, everything(again.train))


@pytest.mark.parametrize(
    ("images", "says", "line"),
    [
        (IMAGES / 255, "values from 0 to 1;", 'np.round(255 * images).astype("uint8")'),
        (IMAGES / 127.5 - 1, "values from -1 to 1;", 'np.round(127.5 * (images + 1)).astype("uint8")'),
        (IMAGES.astype(np.float32), "float32", 'np.round(images).astype("uint8")'),
        (IMAGES.astype(np.int64), "int64", 'images.astype("uint8")'),
        (RNG.normal(size=(4, 6, 8, 3)), "float64", "np.ptp(images)"),
        (IMAGES.astype(np.int16) * 9, "int16", "np.ptp(images)"),
        (IMAGES > 99, "bool", '255 * images.astype("uint8")'),
        (IMAGES.transpose(0, 3, 1, 2), "(N, C, H, W)", "images.transpose(0, 2, 3, 1)"),
        (IMAGES[..., [0, 1, 2, 2]], "4 channels", "images[..., :3]"),
        (IMAGES[..., :2], "2 channels", "images[..., :1]"),
        (IMAGES.reshape(20, -1)[:, :144], "rows, not images", "images.reshape(-1, 12, 12)"),
        (IMAGES.reshape(20, -1)[:, :75], "rows, not images", "images.reshape(-1, 5, 5, 3)"),
        (IMAGES[0, 0, 0], "(3,)", "np.savez"),
        (IMAGES[:0], "no images in it", "images"),
        (IMAGES.astype("U3"), "<U3", "np.savez"),
    ],
)
def test_other_arrays_are_named_with_the_line_that_converts(
    tmp_path: Path, images: Any, says: str, line: str
) -> None:
    error = refusal(save(tmp_path / "a.npz", images=images))
    assert says in error.message
    assert line in error.fix


@pytest.mark.parametrize(
    "images",
    [IMAGES / 255, IMAGES / 127.5 - 1, IMAGES.astype(float), IMAGES.astype(np.int64), IMAGES > 9,
     IMAGES.transpose(0, 3, 1, 2), IMAGES[..., [0, 1, 2, 2]], IMAGES.astype(np.int16) * 9],
)  # fmt: skip
def test_the_line_given_works(tmp_path: Path, images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = refusal(save(tmp_path / "a.npz", images=images))
    exec(error.fix.removeprefix("Convert it: "), {"np": np, "images": images})
    assert build(tmp_path / "a-uint8.npz").shape == (3, 6, 8)


def test_not_finite_values_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    images = IMAGES / 255
    images[7, 0, 0, 0] = np.nan
    images[9, 1] = np.inf
    error = refusal(save(tmp_path / "a.npz", images=images))
    assert "2 of 20 images" in error.message
    assert "the first is image 7" in error.message


def test_no_images_key_lists_what_there_is(tmp_path: Path) -> None:
    error = refusal(save(tmp_path / "a.npz", x_train=IMAGES, y=LABELS))
    assert "no array `images`; it holds x_train, y" in error.message
    assert 'np.load("a.npz")["x_train"]' in error.fix
    assert "it is empty" in refusal(save(tmp_path / "b.npz")).message


@pytest.mark.parametrize(
    ("labels", "says"),
    [(LABELS[:5], "for 20 images"), (LABELS / 2, "whole numbers"), (LABELS - 1, "whole numbers")],
)
def test_labels(tmp_path: Path, labels: Any, says: str) -> None:
    assert says in refusal(save(tmp_path / "a.npz", images=IMAGES, labels=labels)).message


@pytest.mark.parametrize("keep", [0, 10, 500, -30])
def test_truncated_archive(tmp_path: Path, keep: int) -> None:
    path = save(tmp_path / "a.npz", images=IMAGES)
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{path} is truncated or damaged" in refusal(path).message


def test_damaged_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=IMAGES)
    data = bytearray(path.read_bytes())
    data[300:400] = bytes(100)
    path.write_bytes(bytes(data))
    assert "truncated or damaged" in refusal(path).message


def test_objects_and_single_arrays_are_refused(tmp_path: Path) -> None:
    pickled = np.array([IMAGES, None], dtype=object)
    assert "Python objects" in refusal(save(tmp_path / "a.npz", images=pickled)).message
    np.save(tmp_path / "b.npy", IMAGES)
    assert 'np.load("b.npy")' in refusal(tmp_path / "b.npy").fix
    (tmp_path / "c.npz").write_text("hello")
    assert "no NumPy archive" in refusal(tmp_path / "c.npz").message


def test_folder_without_train(tmp_path: Path) -> None:
    assert "nor any .npz" in refusal(tmp_path).message
    save(tmp_path / "mine.npz", images=IMAGES)
    error = refusal(tmp_path)
    assert "it has mine.npz" in error.message
    assert f"--dataset.path {tmp_path / 'mine.npz'}" in error.fix


def test_train_and_test_of_different_shapes(tmp_path: Path) -> None:
    save(tmp_path / "train.npz", images=IMAGES)
    save(tmp_path / "test.npz", images=IMAGES[:, :4, :, 0])
    error = refusal(tmp_path)
    assert "6 × 8 with 3 channels" in error.message
    assert "4 × 8 with 1 channel." in error.message
    assert build(tmp_path, size=4, channels="rgb").shape == (3, 4, 4)


def test_too_small(tmp_path: Path) -> None:
    assert "at least 2" in refusal(save(tmp_path / "a.npz", images=IMAGES[:1])).message
