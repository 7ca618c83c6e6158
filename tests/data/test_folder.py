"""Image folders and zips: layouts, colours, sizes, splits, access from memory and from files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vaebm_toolkit.builtin.data import folder as reader
from vaebm_toolkit.builtin.data.files import FileSplit
from vaebm_toolkit.builtin.data.memory import MemorySplit
from vaebm_toolkit.builtin.datasets import ImageFolderOptions


def build(path: Any, **options: Any) -> Any:
    return reader.build(ImageFolderOptions(path=str(path), **options))


def everything(split: Any) -> torch.Tensor:
    return split.batch(torch.arange(len(split)))


@pytest.fixture(params=["folder", "archive"])
def write(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_class_folders_give_labels(write: Any, make_picture: Any) -> None:
    files = {f"{c}/{i}.png": make_picture(10 * k + i) for k, c in enumerate("ab") for i in range(10)}
    data = build(write(files), test_share=0.25)
    assert data.shape == (3, 8, 8)
    assert data.classes == ("a", "b")
    assert (len(data.train), len(data.test)) == (15, 5)
    for split in (data.train, data.test):
        for name, label, x in zip(split.names, split.labels(), everything(split), strict=True):
            assert "ab"[label] == name[0]
            pixels = np.asarray(files[name], dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
            assert np.array_equal(x.numpy(), pixels)


def test_flat_images_have_no_labels(write: Any, make_picture: Any) -> None:
    data = build(write({f"{i}.png": make_picture(i, mode="L") for i in range(10)}))
    assert data.shape == (1, 8, 8)
    assert data.classes == ()
    assert data.train.labels() is None
    assert (len(data.train), len(data.test)) == (9, 1)


def test_hidden_and_other_files_and_a_common_folder_do_not_matter(write: Any, make_picture: Any) -> None:
    files = {f"top/inner/{c}/{i}.png": make_picture(i) for c in "ab" for i in range(3)}
    junk = {"top/notes.txt": b"x", "__MACOSX/top/a/._0.png": b"x", "top/.cache/1.png": b"x"}
    data = build(write(files | junk))
    assert data.classes == ("a", "b")
    assert len(data.train) + len(data.test) == 6


@pytest.mark.parametrize("test", ["test", "val", "Validation"])
def test_train_and_test_folders_are_splits_not_classes(write: Any, make_picture: Any, test: str) -> None:
    files = {f"set/{s}/{c}/{i}.png": make_picture(i) for s in ("train", test) for c in "ab" for i in range(3)}
    data = build(write(files))
    assert data.classes == ("a", "b")
    assert all("/train/" in name for name in data.train.names)
    assert all(f"/{test}/" in name for name in data.test.names)


def test_with_test_and_val_folders_val_is_left_out(write: Any, make_picture: Any) -> None:
    data = build(write({f"{s}/{i}.png": make_picture(i) for s in ("train", "test", "val") for i in range(4)}))
    assert len(data.train) == len(data.test) == 4
    assert all(name.startswith("test/") for name in data.test.names)


def test_test_path(folder: Any, archive: Any, make_picture: Any) -> None:
    train = folder({f"{c}/{i}.png": make_picture(i) for c in "ab" for i in range(3)})
    test = archive({f"b/{i}.png": make_picture(i) for i in range(2)} | {"a/0.png": make_picture(7)})
    data = build(train, test_path=str(test))
    assert (len(data.train), len(data.test)) == (6, 3)
    assert data.test.labels().tolist() == [0, 1, 1]


def test_folder_of_two_zips(archive: Any, make_picture: Any) -> None:
    paths = [
        archive({f"{i}.png": make_picture(i) for i in range(n)}, s) for s, n in (("train", 5), ("test", 2))
    ]
    data = build(paths[0].parent)
    assert (len(data.train), len(data.test)) == (5, 2)


def test_grey_among_coloured_images_becomes_three_channels(write: Any, make_picture: Any) -> None:
    files = {f"{i}.png": make_picture(i, mode="RGB" if i > 5 else "L") for i in range(10)}
    data = build(write(files))
    assert data.shape == (3, 8, 8)
    grey = [i for i, name in enumerate(data.train.names) if int(name[0]) <= 5]
    x = everything(data.train)[grey]
    assert torch.equal(x[:, 0], x[:, 2])


@pytest.mark.parametrize(("channels", "expected"), [("grey", 1), ("rgb", 3)])
def test_channels(write: Any, make_picture: Any, channels: str, expected: int) -> None:
    data = build(
        write({f"{i}.png": make_picture(i, mode="RGB" if i % 2 else "L") for i in range(4)}),
        channels=channels,
    )
    assert data.shape[0] == everything(data.train).shape[1] == expected


def test_odd_modes(folder: Any, make_picture: Any) -> None:
    """16-bit grey keeps its high byte, transparency lies over white, palettes and orientation are obeyed."""
    deep = Image.fromarray(np.full((8, 8), 0x7F00, dtype=np.uint16))
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    turned = Image.new("RGB", (8, 8))
    turned.putpixel((0, 0), (255, 255, 255))
    exif = turned.getexif()
    exif[0x0112] = 3  # upside down
    root = folder({"a.png": deep, "b.png": clear, "c.png": make_picture(1).quantize(16)})
    turned.save(root / "d.png", exif=exif)
    data = build(root, test_path=str(root))
    deep_x, clear_x, palette_x, turned_x = everything(data.train)
    assert (deep_x * 255 == 0x7F).all()
    assert (clear_x == 1).all()
    assert len(palette_x.flatten(1).unique(dim=1).T) <= 16
    assert turned_x[:, 7, 7].eq(1).all()
    assert turned_x[:, 0, 0].eq(0).all()


def test_resize_and_centre_crop(write: Any) -> None:
    """A wide image whose middle third is white: the crop keeps the middle."""
    wide = Image.new("L", (48, 16))
    wide.paste(255, (16, 0, 32, 16))
    data = build(write({f"{i}.png": wide for i in range(4)}), size=16, pad=2)
    x = everything(data.train)
    assert x.shape[1:] == data.shape == (1, 20, 20)
    assert x[:, :, 2:-2, 2:-2].eq(1).all()
    assert x.sum(dim=(1, 2, 3)).eq(256).all()


def test_memory_and_files_agree(write: Any, make_picture: Any) -> None:
    files = {f"{c}/{i}.jpg": make_picture(i, (9 + i, 12)) for c in "ab" for i in range(8)}
    path = write(files)
    options = {"size": 6, "pad": 1, "bits": 5, "flip": True}
    kept, read = build(path, **options), build(path, memory=0, **options)
    unverified = build(path, memory=0, verify=False, **options)
    assert isinstance(kept.train, MemorySplit)
    assert isinstance(read.train, FileSplit)
    assert kept.shape == read.shape == unverified.shape == (3, 8, 8)
    for split in ("train", "test"):
        a, b, c = (getattr(d, split) for d in (kept, read, unverified))
        rows = torch.arange(len(a)).flip(0)
        assert torch.equal(a.batch(rows), b.batch(rows))
        assert torch.equal(a.batch(rows), c.batch(rows))
        assert torch.equal(a.labels(), b.labels())
        streams = [torch.Generator().manual_seed(5) for _ in range(2)]
        assert torch.equal(a.batch(rows, streams[0]), b.batch(rows, streams[1]))


def test_flips_need_a_stream_and_follow_it(write: Any, make_picture: Any) -> None:
    data = build(write({f"{i:02}.png": make_picture(i) for i in range(64)}), flip=True)
    x = everything(data.train)
    rows = torch.arange(len(x))
    assert torch.equal(x, everything(data.train))
    drawn = [data.train.batch(rows, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    kept = (drawn[0] == x).flatten(1).all(1)
    mirrored = (drawn[0] == x.flip(-1)).flatten(1).all(1)
    assert torch.equal(kept, ~mirrored)
    assert abs(kept.double().mean() - 0.5) < 4 * 0.5 / len(x) ** 0.5
    still = build(data.train.names and write({f"{i}.png": make_picture(i) for i in range(4)}, "still"))
    assert torch.equal(still.train.batch(torch.arange(3), torch.Generator()), everything(still.train))


def test_split_depends_on_names_alone(folder: Any, make_picture: Any) -> None:
    files = {f"{i}.png": make_picture(i) for i in range(40)}
    first = build(folder(files))
    again = build(folder(dict(reversed(files.items())), "elsewhere"))
    assert first.test.names == again.test.names
    assert len(first.test) == 4
    more = build(folder(files | {f"new{i}.png": make_picture(i) for i in range(4)}))
    assert len(set(first.test.names) - set(more.test.names)) <= 1  # the threshold moves a little


def test_limit_takes_a_fair_sample(write: Any, make_picture: Any) -> None:
    data = build(write({f"{c}/{i}.png": make_picture(i) for c in "abcd" for i in range(20)}), limit=16)
    assert len(data.train) == 16
    assert (data.train.labels().bincount(minlength=4) > 0).all()


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_once(folder: Any, make_picture: Any) -> None:
    root = folder({f"a/{i}.png": make_picture(i) for i in range(3)})
    other = folder({f"{i}.png": make_picture(i) for i in range(3)}, "other")
    (root / "b").symlink_to(other)
    (root / "a" / "back").symlink_to(root)
    data = build(root)
    assert data.classes == ("a", "b")
    assert len(data.train) + len(data.test) == 6
