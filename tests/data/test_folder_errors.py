"""Whatever is wrong with a folder of images is said once, before step 0, with what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vaebm_toolkit import DataError, RecipeError
from vaebm_toolkit.builtin.data import folder as reader
from vaebm_toolkit.builtin.data.scan import BadFiles
from vaebm_toolkit.builtin.datasets import ImageFolderOptions


def refusal(path: Any, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        reader.build(ImageFolderOptions(path=None if path is None else str(path), **options))
    return caught.value


def test_no_path() -> None:
    with pytest.raises(RecipeError, match=r"image-folder needs") as caught:
        reader.build(ImageFolderOptions())
    assert "--dataset.path" in caught.value.fix


def test_missing_path_names_the_near_one(tmp_path: Any) -> None:
    (tmp_path / "pictures").mkdir()
    error = refusal(tmp_path / "picture")
    assert str(tmp_path / "picture") in error.message
    assert '"pictures"' in error.fix
    assert str(tmp_path) in refusal(tmp_path / "x" / "y").fix


def test_empty_folder_says_what_is_read(folder: Any) -> None:
    error = refusal(folder({}))
    assert "it is empty" in error.message
    assert ".png .jpg .jpeg" in error.message


def test_folder_and_zip_of_other_things(folder: Any, archive: Any) -> None:
    assert "2 .txt" in refusal(folder({"a.txt": b"", "b.txt": b""})).message
    assert "--dataset npz" in refusal(folder({"train.npz": b""}, "arrays")).fix
    assert "inner.zip" in refusal(folder({"inner.zip": b""}, "zips")).fix
    assert "holds no images (1 .txt)" in refusal(archive({"a.txt": b""})).message


def test_a_file_that_is_no_source(folder: Any, make_picture: Any) -> None:
    root = folder({"a.png": make_picture(0), "b.npz": b"", "c.tar": b"tar"})
    assert f"--dataset.path {root}" in refusal(root / "a.png").fix
    assert "--dataset npz" in refusal(root / "b.npz").fix
    assert "Unpack" in refusal(root / "c.tar").fix


def test_truncated_zip(archive: Any, make_picture: Any) -> None:
    path = archive({f"{i}.png": make_picture(i) for i in range(9)})
    path.write_bytes(path.read_bytes()[:-200])
    error = refusal(path)
    assert "truncated" in error.message
    assert "Traceback" not in str(error)


@pytest.mark.parametrize("memory", [4, 0])
def test_all_bad_files_are_named_at_once(
    folder: Any, make_picture: Any, make_bytes: Any, memory: float
) -> None:
    good = {f"{i:02}.png": make_picture(i, (32, 32)) for i in range(20)}
    cut = {f"cut{i}.jpg": make_bytes(make_picture(i, (32, 32)), ".jpg")[:-300] for i in range(3)}
    error = refusal(folder(good | cut | {"empty.png": b"", "text.jpg": b"hello"}), memory=memory)
    assert isinstance(error, BadFiles)
    assert error.message.startswith("5 of 25 images")
    for name in (*cut, "empty.png", "text.jpg"):
        assert name in error.message
    assert "truncated" in error.message
    assert "not an image" in error.message
    assert "vaebm data check" in error.fix


def test_of_many_bad_files_ten_are_shown_and_all_are_kept(folder: Any, make_picture: Any) -> None:
    error = refusal(folder({f"{i}.png": b"" for i in range(23)} | {"good.png": make_picture(0)}))
    assert isinstance(error, BadFiles)
    assert error.message.count(".png: ") == 10
    assert "and 13 more" in error.message
    assert len(error.files) == 23


def test_only_bad_files(folder: Any) -> None:
    assert "3 of 3 images" in refusal(folder({f"{i}.png": b"" for i in range(3)})).message


def test_damage_inside_a_zip(archive: Any, make_picture: Any) -> None:
    path = archive({f"{i}.png": make_picture(i, (32, 32)) for i in range(4)})
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(bytes(data))
    error = refusal(path)
    assert "1 of 4 images" in error.message
    assert "0.png" in error.message


@pytest.mark.parametrize("memory", [4, 0])
def test_mixed_sizes(folder: Any, make_picture: Any, memory: float) -> None:
    files = {f"{i}.png": make_picture(i, (8, 8)) for i in range(3)} | {"wide.png": make_picture(9, (12, 8))}
    error = refusal(folder(files), memory=memory)
    assert "8 × 8: 3 images" in error.message
    assert "12 × 8: 1 image, e.g. wide.png" in error.message
    assert "--dataset.size 8" in error.fix
    assert reader.build(ImageFolderOptions(path=str(folder(files)), size=8)).shape == (3, 8, 8)


def test_unverified_files_are_named_when_they_are_met(folder: Any, make_picture: Any) -> None:
    root = folder(
        {f"{i}.png": make_picture(i, (8 + (i == 3), 8), "RGB" if i == 4 else "L") for i in range(6)}
    )
    data = reader.build(ImageFolderOptions(path=str(root), test_path=str(root), memory=0, verify=False))
    assert data.train.batch(torch.arange(3)).shape == (3, 1, 8, 8)
    with pytest.raises(DataError, match=r"3\.png .* 9 × 8") as caught:
        data.train.batch(torch.tensor([2, 3]))
    assert "--dataset.size" in caught.value.fix
    with pytest.raises(DataError, match=r"4\.png .* 3 channels"):
        data.train.batch(torch.tensor([4]))
    (root / "5.png").unlink()
    with pytest.raises(BadFiles, match=r"5\.png"):
        data.train.batch(torch.tensor([5]))


def test_one_image_cannot_be_split(folder: Any, make_picture: Any) -> None:
    error = refusal(folder({"only.png": make_picture(0)}))
    assert "at least 2" in error.message
    assert "--dataset.test-path" in error.fix
