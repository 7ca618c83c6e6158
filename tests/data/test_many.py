"""What makes very many images bearable: names in few bytes, zips without ZipInfo, a sample before step 0."""

from __future__ import annotations

import random
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaebm_toolkit import DataError
from vaebm_toolkit.builtin.data import files, names
from vaebm_toolkit.builtin.data import folder as reader
from vaebm_toolkit.builtin.data.names import Names
from vaebm_toolkit.builtin.data.scan import BadFiles
from vaebm_toolkit.builtin.data.tree import splits_of
from vaebm_toolkit.builtin.data.zips import ZipSource, is_zip
from vaebm_toolkit.builtin.datasets import ImageFolderOptions

WORDS = ["b/2", "a/10", "a/9", "Ä/é", "a", "", "z" * 300, "a-b/1", "日本/語", "a/10", "not\udcff utf-8"]


@pytest.mark.parametrize("widest", [names.WIDEST, 0])
def test_names_are_a_list_of_texts(monkeypatch: pytest.MonkeyPatch, widest: int) -> None:
    monkeypatch.setattr(names, "WIDEST", widest)
    held = Names.of(WORDS)
    assert held == WORDS
    assert [held[i] for i in range(len(held))] == WORDS
    assert held[2:5] == WORDS[2:5]
    assert held.take([3, 0]) == ["Ä/é", "b/2"]
    assert held.take(held.order()) == sorted(WORDS, key=names.encoded)
    assert Names.of([]) == []
    assert list(Names.of([]).order()) == []


def everything(source: ZipSource) -> dict[str, bytes]:
    return {name: source.read(i) for i, name in enumerate(source.names)}


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"])
def test_a_zip_is_read_as_zipfile_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wide: bool, before: bytes
) -> None:
    """Stored and deflated, with comments and bytes before it; zip64 where limits say so."""
    if wide:
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as z:
        for i, name in enumerate(["b/ü.png", "b/1.png", "a/2.png", "a/3.jpg", "notes.txt", ".hidden.png"]):
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED if i % 2 else zipfile.ZIP_STORED
            info.comment = b"of a file"
            z.writestr(info, random.Random(i).randbytes(300))
        z.mkdir("folder.png")
        z.comment = b"of all"
    path.write_bytes(before + path.read_bytes())
    assert is_zip(path)
    with zipfile.ZipFile(path) as z:
        expected = {name: z.read(name) for name in ("a/2.png", "a/3.jpg", "b/1.png", "b/ü.png")}
    assert everything(ZipSource(path)) == expected


def test_members_that_cannot_be_read_are_named(tmp_path: Path, make_picture: Any, make_bytes: Any) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as z:
        for i in range(4):
            kind = zipfile.ZIP_BZIP2 if i == 2 else zipfile.ZIP_STORED
            z.writestr(f"{i}.png", make_bytes(make_picture(i), ".png"), kind)
    with pytest.raises(BadFiles, match=r"1 of 4 images(.|\n)*2\.png: compressed by method 12"):
        reader.build(ImageFolderOptions(path=str(path)))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"PK\1\2", b"PK\1\3"))
    with pytest.raises(DataError, match="its directory is damaged"):
        ZipSource(path)


def test_a_file_of_a_zip_takes_some_bytes_beside_its_name(tmp_path: Path) -> None:
    path, count = tmp_path / "images.zip", 3000
    with zipfile.ZipFile(path, "w") as z:
        for i in range(count):
            z.writestr(zipfile.ZipInfo(f"class-{i % 7}/{i:06}.png"), b"x")
    ZipSource(path)
    tracemalloc.start()
    try:
        train, _ = splits_of(ZipSource(path))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert train.classes == tuple(f"class-{i}" for i in range(7))
    assert np.bincount(train.codes).tolist() == [429] * 4 + [428] * 3
    assert held < 120 * count, "a ZipInfo and a text take 600"


def test_of_many_files_a_sample_is_decoded_before_step_0(
    folder: Any, make_picture: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(files, "SAMPLE", 4)
    root = folder({f"{i:02}.png": make_picture(i) for i in range(30)})
    (root / "15.png").write_bytes(b"damaged")
    options = {"path": str(root), "test_path": str(folder({"0.png": make_picture(0)}, "test")), "memory": 0}
    with pytest.raises(BadFiles, match=r"1 of 31 images(.|\n)*15\.png"):
        reader.build(ImageFolderOptions(**options))
    assert not capfd.readouterr().err
    data = reader.build(ImageFolderOptions(**options, verify_limit=30))
    assert "note: 5 of the 31 images in" in capfd.readouterr().err
    with pytest.raises(BadFiles, match=r"15\.png"):
        data.train.batch(torch.arange(30))
