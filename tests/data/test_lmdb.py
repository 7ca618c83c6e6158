"""LMDBs: keys and values of either kind, splits, forks, and what is wrong with a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaebm_toolkit import DataError, RecipeError
from vaebm_toolkit.builtin.data import lmdb as reader
from vaebm_toolkit.builtin.data.scan import BadFiles
from vaebm_toolkit.builtin.datasets import LmdbOptions


def build(path: Any, **options: Any) -> Any:
    return reader.build(LmdbOptions(path=str(path), **options))


def everything(split: Any) -> torch.Tensor:
    return split.batch(torch.arange(len(split)))


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write {key: value} as an LMDB, a folder or one file."""
    lmdb = pytest.importorskip("lmdb")

    def put(values: Mapping[str, bytes], name: str = "images.lmdb", subdir: bool = True) -> Path:
        path = tmp_path / name
        with lmdb.open(str(path), subdir=subdir) as env, env.begin(write=True) as out:
            for key, value in values.items():
                out.put(key.encode(), value)
        return path

    return put


@pytest.mark.parametrize("subdir", [True, False])
def test_numbers_as_keys_are_in_the_order_of_numbers(
    write: Any, make_picture: Any, make_bytes: Any, subdir: bool
) -> None:
    pictures = [make_picture(i) for i in range(12)]
    path = write({str(i): make_bytes(p, ".png") for i, p in enumerate(pictures)}, subdir=subdir)
    source = reader.LmdbSource(path)
    assert list(source.names) == [str(i) for i in range(12)]
    data = build(path, test_share=0.25)
    assert (len(data.train), len(data.test), data.shape) == (9, 3, (3, 8, 8))
    for split in (data.train, data.test):
        for name, x in zip(split.names, everything(split), strict=True):
            assert np.array_equal(x.numpy().transpose(1, 2, 0) * 255, np.asarray(pictures[int(name)]))


def test_other_keys(write: Any, make_picture: Any, make_bytes: Any) -> None:
    path = write({f"{7 * i % 11:x}-key": make_bytes(make_picture(i), ".webp") for i in range(11)})
    data = build(path, memory=0)
    assert sorted([*data.train.names, *data.test.names]) == sorted(f"{i:x}-key" for i in range(11))
    assert everything(data.train).shape == (10, 3, 8, 8)


@pytest.mark.parametrize(("raw", "channels"), [("rgb", 3), ("grey", 1)])
def test_released_layout_with_raw_pixels(write: Any, raw: Any, channels: int) -> None:
    """train.lmdb and validation.lmdb, values H × W × C as NVAE's code writes them."""
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 5, channels), dtype=np.uint8)
    for name, rows in (("train.lmdb", range(4)), ("validation.lmdb", range(4, 6))):
        path = write({str(i): images[row].tobytes() for i, row in enumerate(rows)}, name)
    data = build(path.parent, raw=raw)
    assert data.shape == (channels, 5, 5)
    assert np.array_equal(data.train.images.permute(0, 2, 3, 1).numpy(), images[:4])
    assert np.array_equal(data.test.images.permute(0, 2, 3, 1).numpy(), images[4:])


def test_test_path(write: Any, make_picture: Any, make_bytes: Any) -> None:
    paths = [
        write({str(i): make_bytes(make_picture(i), ".png") for i in range(n)}, f"{n}.lmdb") for n in (4, 2)
    ]
    data = build(paths[0], test_path=str(paths[1]))
    assert (len(data.train), len(data.test)) == (4, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_threads_and_forks_read_the_same(write: Any, make_picture: Any, make_bytes: Any) -> None:
    values = {str(i): make_bytes(make_picture(i), ".png") for i in range(20)}
    source = reader.LmdbSource(write(values))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(source.read, range(20))) == list(values.values())
    child = os.fork()
    if not child:
        os._exit(0 if source.read(3) == values["3"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reader.LmdbSource(source.path).read(5) == values["5"]  # a second one of the same file


def test_keys_are_listed_once(write: Any, make_picture: Any, make_bytes: Any, monkeypatch: Any) -> None:
    path = write({str(i): make_bytes(make_picture(i), ".png") for i in range(5)})
    first = reader.LmdbSource(path).names
    monkeypatch.setattr(reader, "_index", None)
    assert reader.LmdbSource(path).names == first


def test_values_that_are_no_images_are_named(write: Any, make_picture: Any, make_bytes: Any) -> None:
    good = {str(i): make_bytes(make_picture(i), ".png") for i in range(6)}
    path = write(good | {"length": b"6"})
    with pytest.raises(BadFiles, match=r"1 of 7 images(.|\n)*length: not an image"):
        build(path)
    with pytest.raises(BadFiles, match="no square image of 3 bytes a pixel"):
        build(write({"0": bytes(12), "1": bytes(13)}, "raw.lmdb"), raw="rgb")


def test_what_is_no_lmdb(write: Any, tmp_path: Path) -> None:
    (tmp_path / "text.lmdb").write_bytes(b"hello" * 9999)
    with pytest.raises(DataError, match=r"text\.lmdb is no LMDB, or a damaged one"):
        build(tmp_path / "text.lmdb")
    (tmp_path / "some.zip").write_bytes(b"hello" * 9999)
    with pytest.raises(DataError) as caught:
        build(tmp_path / "some.zip")
    assert "--dataset image-folder" in caught.value.fix
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/train.txt").touch()
    with pytest.raises(DataError, match=r"no data\.mdb(.|\n)*it has train\.txt"):
        build(tmp_path / "folder")
    with pytest.raises(DataError, match=r"empty\.lmdb is empty"):
        build(write({}, "empty.lmdb"))


def test_one_that_was_cut_off(write: Any, make_picture: Any, make_bytes: Any) -> None:
    """Reading it would end the process by SIGBUS."""
    path = write({str(i): make_bytes(make_picture(i, size=(64, 64)), ".png") for i in range(60)})
    data = path / "data.mdb"
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    with pytest.raises(DataError, match="it ends after"):
        build(path)


def test_without_path_and_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="lmdb needs to know"):
        reader.build(LmdbOptions())
    monkeypatch.setitem(sys.modules, "lmdb", None)
    (tmp_path / "data.mdb").touch()
    with pytest.raises(DataError, match="not installed") as caught:
        build(tmp_path)
    assert caught.value.fix == 'pip install "vaebm-toolkit[lmdb]"'
