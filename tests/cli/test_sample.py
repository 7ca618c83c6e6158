"""`vaebm sample`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from .conftest import Vaebm


def images(file: str) -> np.ndarray:
    return np.load(file)["images"].astype(int)


def test_samples_do_not_depend_on_the_batch_size(vaebm: Vaebm, finished: Path) -> None:
    for size in ("7", "3", "1"):
        assert vaebm("sample", finished, "-n", "7", "--batch-size", size, "--out", f"{size}.npz").code == 0
    # convolutions may round differently for another batch size: one grey level at most
    assert np.abs(images("7.npz") - images("3.npz")).max() <= 1
    assert np.abs(images("7.npz") - images("1.npz")).max() <= 1


def test_sample_i_is_the_same_in_every_call(vaebm: Vaebm, finished: Path) -> None:
    vaebm("sample", finished, "-n", "6", "--out", "a.npz")
    vaebm("sample", finished, "-n", "2", "--first", "4", "--out", "b.npz")
    vaebm("sample", finished, "-n", "6", "--seed", "1", "--out", "c.npz")
    assert np.abs(images("a.npz")[4:] - images("b.npz")).max() <= 1
    assert np.abs(images("a.npz") - images("c.npz")).max() > 1


def test_formats(vaebm: Vaebm, finished: Path) -> None:
    assert vaebm("sample", finished, "-n", "5", "--out", "folder").code == 0
    files = sorted(Path("folder").glob("*.png"))
    assert [f.name for f in files] == [f"{i:06d}.png" for i in range(5)]
    assert Image.open(files[0]).size == (8, 8)
    assert vaebm("sample", finished, "-n", "5", "--out", "grid.png").code == 0
    assert Image.open("grid.png").size[0] > 100
    vaebm("sample", finished, "-n", "5", "--out", "x.npz")
    assert images("x.npz").shape == (5, 8, 8, 1)
    pixels = np.stack([np.asarray(Image.open(f)) for f in files])[..., None]
    assert np.array_equal(pixels, images("x.npz"))


def test_the_energy_changes_the_samples(vaebm: Vaebm, finished: Path) -> None:
    vaebm("sample", finished, "-n", "8", "--out", "a.npz")
    vaebm("sample", finished, "-n", "8", "--generator-only", "--out", "b.npz")
    assert np.abs(images("a.npz") - images("b.npz")).max() > 0


def test_unfinished_and_missing_runs(vaebm: Vaebm, finished: Path) -> None:
    shutil.copytree(finished, "half")
    Path("half/train/done.json").unlink()
    called = vaebm("sample", "half")
    assert called.code != 0
    assert "vaebm run --resume half" in called.err
    Path("half/train/done.json").write_text("{}")
    damaged = Path("half/train/networks.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:100])
    called = vaebm("sample", "half")
    assert called.code != 0
    assert "networks.safetensors cannot be read" in called.err
    assert vaebm("sample", "nowhere").code != 0
