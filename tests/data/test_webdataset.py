"""Tar shards: keys, labels, patterns, splits, and what is wrong with a shard."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaebm_toolkit import DataError, RecipeError
from vaebm_toolkit.builtin.data import tars, webdataset
from vaebm_toolkit.builtin.data.scan import BadFiles
from vaebm_toolkit.builtin.datasets import WebDatasetOptions


def build(path: Any, **options: Any) -> Any:
    return webdataset.build(WebDatasetOptions(path=str(path), **options))


@pytest.fixture
def write(tmp_path: Path, make_bytes: Any) -> Any:
    """Write {member: image or bytes} as a tar."""

    def put(members: Mapping[str, Any], name: str = "shard-000.tar") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w") as tar:
            for member, content in members.items():
                data = content if isinstance(content, bytes) else make_bytes(content, Path(member).suffix)
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    return put


def labelled(make_picture: Any, rows: range, long: str = "") -> dict[str, Any]:
    """Samples of which the .cls comes before the image or after it."""
    found: dict[str, Any] = {}
    for i in rows:
        parts = {f"{long}{i:04}.png": make_picture(i), f"{long}{i:04}.cls": str(i % 12).encode()}
        found |= parts if i % 2 else dict(reversed(parts.items()))
        found[f"{long}{i:04}.json"] = b"{}"
    return found


def test_images_and_labels_of_several_shards(write: Any, make_picture: Any) -> None:
    long = "folder/" + "n" * 120 + "/"  # longer than a header holds
    path = write(labelled(make_picture, range(20)))
    write(labelled(make_picture, range(20, 40), long), "shard-001.tar")
    data = build(path.parent / "shard-{000..001}.tar", test_share=0.25)
    assert (len(data.train), len(data.test), data.shape) == (30, 10, (3, 8, 8))
    assert data.classes == tuple(f"{i:02}" for i in range(12))
    for split in (data.train, data.test):
        x = split.batch(torch.arange(len(split))) * 255
        for name, label, pixels in zip(split.names, split.labels().tolist(), x, strict=True):
            i = int(Path(name).stem)
            assert name.startswith(f"shard-{i // 20:03}.tar/")
            assert label == i % 12
            assert np.array_equal(pixels.numpy().transpose(1, 2, 0), np.asarray(make_picture(i)))


def test_one_image_of_a_sample_and_no_labels(write: Any, make_picture: Any) -> None:
    sample = {"jpg": 0, "seg.png": 1, "png": 2}
    members = {f"./a/{i}.{kind}": make_picture(3 * i + k) for i in range(4) for kind, k in sample.items()}
    data = build(write(members | {"a/._0.png": b"x", "a/notes.txt": b"x"}), memory=0)
    assert sorted([*data.train.names, *data.test.names]) == [f"shard-000.tar/./a/{i}.jpg" for i in range(4)]
    assert data.train.labels() is None


@pytest.mark.parametrize("test", ["test", "val"])
def test_train_and_test_folders(write: Any, make_picture: Any, test: str) -> None:
    for folder, n in (("train", 5), (test, 2)):
        path = write({f"{i}.jpg": make_picture(i) for i in range(n)}, f"{folder}/0.tar")
    data = build(path.parent.parent)
    assert (len(data.train), len(data.test)) == (5, 2)
    other = build(path.parent.parent / "train/*.tar", test_path=str(path))
    assert (len(other.train), len(other.test)) == (5, 2)


def test_shards_are_indexed_once(write: Any, make_picture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(labelled(make_picture, range(4)))
    first = tars.TarSource(path, [path])
    monkeypatch.setattr(tars, "_index", None)
    again = tars.TarSource(path, [path])
    assert again.names == first.names
    assert again.read(2) == first.read(2)


def test_bad_images_are_named(write: Any, make_picture: Any) -> None:
    path = write({f"{i}.png": make_picture(i) for i in range(4)} | {"4.png": b"no image"})
    with pytest.raises(BadFiles, match=r"shard-000\.tar/4\.png: not an image"):
        build(path)


def test_shards_without_images_truncated_and_of_other_kinds(write: Any, make_picture: Any) -> None:
    with pytest.raises(DataError, match=r"holds no images \(2 \.txt, 1 \.seg\.png\)"):
        build(write({"a.txt": b"", "b.txt": b"", "c.seg.png": b""}, "text.tar"))
    whole = write({f"{i}.png": make_picture(i) for i in range(9)})
    content = whole.read_bytes()
    for cut in (content[:1100], content[:1700], content[:1536] + b"damaged" * 99):
        whole.write_bytes(cut)
        with pytest.raises(DataError, match=r"shard-000\.tar is no tar archive, or a truncated one"):
            build(whole)
    with tarfile.open(whole, "w:gz") as tar:
        tar.add(__file__, "0.png")
    with pytest.raises(DataError, match="compressed") as caught:
        build(whole)
    assert caught.value.fix.startswith("gzip -d ")


def test_labels_that_are_none(write: Any, make_picture: Any) -> None:
    members = labelled(make_picture, range(6))
    with pytest.raises(DataError, match=r"1 of 6 samples(.|\n)*0003\.png"):
        build(write({k: v for k, v in members.items() if k != "0003.cls"}))
    with pytest.raises(DataError, match=r"0003\.cls in .* holds b'cat'"):
        build(write(members | {"0003.cls": b"cat"}))


def test_patterns(write: Any, make_picture: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="webdataset needs to know"):
        webdataset.build(WebDatasetOptions())
    with pytest.raises(DataError, match=r"Nothing matches .*shard-\*\.tar; .* holds no \.tar"):
        build(tmp_path / "shard-*.tar")
    write({f"{i}.png": make_picture(i) for i in range(4)})
    with pytest.raises(DataError, match=r"Nothing matches .*shard-001\.tar; there are shard-000\.tar"):
        build(tmp_path / "shard-{000..001}.tar")
    with pytest.raises(DataError, match="does not exist"):
        build(tmp_path / "nowhere" / "*.tar")
    with pytest.raises(DataError, match="does not exist"):
        build(tmp_path / "nowhere.tar")
    with pytest.raises(DataError, match="more than 1,000,000 shards"):
        build(tmp_path / "{0..9999999}.tar")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"holds no \.tar"):
        build(tmp_path / "none")
    assert webdataset.expanded("{a,b}-{9..10}") == ["a-9", "a-10", "b-9", "b-10"]
