"""MNIST, Fashion-MNIST, CIFAR-10, CelebA and LSUN, from files of their formats written here."""

from __future__ import annotations

import gzip
import pickle
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch

from vaebm_toolkit import DataError
from vaebm_toolkit.builtin.data import celeba, cifar, lsun, mnist
from vaebm_toolkit.builtin.datasets import CelebaOptions, Cifar10Options, LsunOptions, MnistOptions

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 28, 28), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)


def everything(split: Any) -> torch.Tensor:
    return split.batch(torch.arange(len(split)))


def idx(array: np.ndarray) -> bytes:
    """LeCun's format: 0, 0, type 8, dimensions, sizes as big-endian int32, bytes."""
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, *, packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in (("train", 8), ("t10k", 4)):
        for kind, array in (("images-idx3", GREY[:n]), ("labels-idx1", np.arange(n))):
            path = folder / f"{part}-{kind}-ubyte"
            if packed:
                path.with_suffix(".gz").write_bytes(gzip.compress(idx(array)))
            else:
                path.write_bytes(idx(array))
    return folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", "raw", "."])
def test_mnist_from_idx(tmp_path: Path, place: str, packed: bool) -> None:
    write_idx(tmp_path / place, packed=packed)
    data = mnist.build(MnistOptions(root=str(tmp_path), pad=2))
    assert data.shape == MnistOptions(pad=2).data_shape == (1, 32, 32)
    assert (len(data.train), len(data.test)) == (8, 4)
    x = everything(data.train)[:, 0, 2:-2, 2:-2]
    assert torch.equal(x, torch.from_numpy(GREY[:8]).float() / 255)
    assert data.train.labels().tolist() == list(range(8))


def test_mnist_agrees_with_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import MNIST

    write_idx(tmp_path / "MNIST/raw")
    theirs, ours = MNIST(tmp_path), mnist.build(MnistOptions(root=str(tmp_path)))
    assert torch.equal(ours.train.images[:, 0], theirs.data)
    assert torch.equal(ours.train.labels(), theirs.targets)


def test_fashion_mnist_has_its_own_folder_and_names(tmp_path: Path) -> None:
    write_idx(tmp_path / "FashionMNIST/raw")
    data = mnist.build_fashion(MnistOptions(root=str(tmp_path), limit=3))
    assert data.classes[9] == "Ankle boot"
    assert (len(data.train), len(data.test)) == (3, 3)
    with pytest.raises(DataError, match="No mnist under"):
        mnist.build(MnistOptions(root=str(tmp_path)))


@pytest.mark.parametrize("place", [".", "mnist"])
def test_mnist_from_npz(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    for split, n in (("train", 8), ("test", 4)):
        np.savez(tmp_path / place / f"{split}.npz", images=GREY[:n], labels=np.arange(n))
    data = mnist.build(MnistOptions(root=str(tmp_path)))
    assert (len(data.train), len(data.test)) == (8, 4)
    assert data.classes[3] == "3"
    assert len(mnist.build(MnistOptions(root=str(tmp_path), limit=2)).test) == 2


def test_other_images_are_not_mnist(tmp_path: Path) -> None:
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", images=COLOUR)
    with pytest.raises(DataError, match="are not mnist"):
        mnist.build(MnistOptions(root=str(tmp_path)))


@pytest.mark.parametrize("damage", [b"", b"hello", idx(GREY[:8])[:-5], gzip.compress(idx(GREY[:8]))[:-9]])
def test_damaged_idx(tmp_path: Path, damage: bytes) -> None:
    path = write_idx(tmp_path) / "train-images-idx3-ubyte"
    path.write_bytes(damage)
    with pytest.raises(DataError, match="truncated or damaged") as caught:
        mnist.build(MnistOptions(root=str(tmp_path)))
    assert str(path) in caught.value.message


def write_batches(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's layout with 2 images a file; its checksums are those of the real files."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    rows = COLOUR.transpose(0, 3, 1, 2).reshape(10, -1)
    for i in range(5):
        part = {"data": rows[2 * i : 2 * i + 2], "labels": [2 * i, 2 * i + 1]}
        (folder / f"data_batch_{i + 1}").write_bytes(pickle.dumps(part))
    (folder / "test_batch").write_bytes(pickle.dumps({"data": rows[:3], "labels": [0, 1, 2]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(cifar.CLASSES)}))
    monkeypatch.setattr(
        "torchvision.datasets.cifar.check_integrity", lambda path, md5=None: Path(path).is_file()
    )


def test_cifar_from_torchvisions_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_batches(tmp_path, monkeypatch)
    data = cifar.build(Cifar10Options(root=str(tmp_path)))
    assert data.shape == Cifar10Options().data_shape == (3, 32, 32)
    assert torch.equal(everything(data.train), torch.from_numpy(COLOUR).permute(0, 3, 1, 2).float() / 255)
    assert data.train.labels().tolist() == list(range(10))
    assert len(data.test) == 3
    assert data.classes[0] == "airplane"
    flipped = data.train.batch(torch.arange(10), torch.Generator().manual_seed(0))
    assert not torch.equal(flipped, everything(data.train))  # flips are its default


def test_cifar_files_with_other_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_batches(tmp_path, monkeypatch)
    monkeypatch.undo()
    with pytest.raises(DataError, match="checksums differ") as caught:
        cifar.build(Cifar10Options(root=str(tmp_path)))
    assert "--dataset.download true" in caught.value.fix


def test_cifar_from_npz_and_from_zips(tmp_path: Path, archive: Any, make_picture: Any) -> None:
    for split in ("train", "test"):
        archive({f"{c}/{i}.png": make_picture(i, (32, 32)) for c in cifar.CLASSES for i in range(2)}, split)
    data = cifar.build(Cifar10Options(root=str(tmp_path)))
    assert data.classes == cifar.CLASSES
    assert len(data.train) == len(data.test) == 20
    (tmp_path / "cifar10").mkdir()
    for split, n in (("train", 6), ("test", 4)):
        np.savez(tmp_path / "cifar10" / f"{split}.npz", images=COLOUR[:n], labels=np.arange(n))
    data = cifar.build(Cifar10Options(root=str(tmp_path)))
    assert (len(data.train), len(data.test)) == (6, 4)
    assert data.classes == cifar.CLASSES


def test_other_images_are_not_cifar(tmp_path: Path, archive: Any, make_picture: Any) -> None:
    for split in ("train", "test"):
        archive({f"{i}.png": make_picture(i, (16, 16)) for i in range(2)}, split)
    with pytest.raises(DataError, match="are not CIFAR-10"):
        cifar.build(Cifar10Options(root=str(tmp_path)))


def test_celeba_partition_and_crop(tmp_path: Path, folder: Any, make_picture: Any) -> None:
    files = {f"img_align_celeba/{i:06}.png": make_picture(i, (178, 218)) for i in range(1, 8)}
    root = folder(files, "celeba")
    parts = [0, 0, 0, 1, 2, 2, 0]
    lines = [f"{i:06}.png {part}\n" for i, part in enumerate(parts, 1)]
    (root / "list_eval_partition.txt").write_text("".join(lines))
    whole = celeba.build(CelebaOptions(root=str(tmp_path), size=None))
    assert whole.shape == CelebaOptions(size=None).data_shape == (3, 148, 148)
    assert (len(whole.train), len(whole.test)) == (4, 2)
    first = np.asarray(files["img_align_celeba/000001.png"])[40:188, 15:163]
    assert np.array_equal(whole.train.images[0].permute(1, 2, 0).numpy(), first)
    assert celeba.build(CelebaOptions(root=str(root))).shape == (3, 64, 64)
    (root / "img_align_celeba/000002.png").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of the 7 .* 000002\.png"):
        celeba.build(CelebaOptions(root=str(tmp_path)))
    (root / "list_eval_partition.txt").write_text("one two three\n")
    with pytest.raises(DataError, match="is not CelebA's partition"):
        celeba.build(CelebaOptions(root=str(tmp_path)))


@pytest.mark.parametrize(
    ("build", "options", "files"),
    [
        (mnist.build, MnistOptions, "MNIST/raw/t10k-labels-idx1-ubyte[.gz]"),
        (mnist.build_fashion, MnistOptions, "FashionMNIST/raw/train-images-idx3-ubyte[.gz]"),
        (cifar.build, Cifar10Options, "cifar-10-batches-py/{data_batch_1,"),
        (celeba.build, CelebaOptions, "celeba/list_eval_partition.txt"),
    ],
)
class TestFilesThatAreNotThere:
    def test_named_with_the_command(self, tmp_path: Path, build: Any, options: Any, files: str) -> None:
        with pytest.raises(DataError) as caught:
            build(options(root=str(tmp_path / "nowhere")))
        assert f"{tmp_path / 'nowhere'} (this folder does not exist)" in caught.value.message
        assert str(tmp_path / "nowhere" / files) in caught.value.message
        assert "--dataset.root" in caught.value.fix
        assert "--dataset.download true" in caught.value.fix

    @pytest.mark.parametrize("fault", [URLError("Name or service not known"), RuntimeError("a\nlast line")])
    def test_failed_download(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        build: Any,
        options: Any,
        files: str,
        fault: Exception,
    ) -> None:
        import torchvision.datasets as theirs

        def offline(*args: Any, **given: Any) -> None:
            raise fault

        for name in ("MNIST", "FashionMNIST", "CIFAR10", "CelebA"):
            monkeypatch.setattr(theirs, name, offline)
        with pytest.raises(DataError, match=r"download of .* failed: .*(not known|last line)") as caught:
            build(options(root=str(tmp_path), download=True))
        assert "leave --dataset.download away" in caught.value.fix


@pytest.mark.parametrize(
    "fault", [ModuleNotFoundError("No module named 'gdown'"), RuntimeError("gdown is required")]
)
def test_celeba_download_without_gdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def needs_gdown(*args: Any, **given: Any) -> None:
        raise fault

    monkeypatch.setattr("torchvision.datasets.CelebA", needs_gdown)
    with pytest.raises(DataError, match="gdown") as caught:
        celeba.build(CelebaOptions(root=str(tmp_path), download=True))
    assert caught.value.fix.startswith("pip install gdown")


def test_lsun_without_lmdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(DataError, match="lmdb") as caught:
        lsun.build(LsunOptions(root=str(tmp_path)))
    assert caught.value.fix == 'pip install "vaebm-toolkit[lmdb]"'


def test_lsun(tmp_path: Path, make_picture: Any, make_bytes: Any) -> None:
    lmdb = pytest.importorskip("lmdb")
    with pytest.raises(DataError, match="church_outdoor_train_lmdb"):
        lsun.build(LsunOptions(root=str(tmp_path)))
    for part, n in (("train", 6), ("val", 3)):
        with lmdb.open(str(tmp_path / f"church_outdoor_{part}_lmdb")) as env, env.begin(write=True) as out:
            for i in range(n):
                out.put(f"{i:040x}".encode(), make_bytes(make_picture(i, (20, 16)), ".webp"))
    for memory in (4.0, 0.0):
        data = lsun.build(LsunOptions(root=str(tmp_path), size=8, memory=memory))
        assert data.shape == (3, 8, 8)
        assert (len(data.train), len(data.test)) == (6, 3)
        assert everything(data.train).shape == (6, 3, 8, 8)
    (tmp_path / "church_outdoor_val_lmdb/data.mdb").write_bytes(b"damaged")
    with pytest.raises(DataError, match="damaged"):
        lsun.build(LsunOptions(root=str(tmp_path)))
