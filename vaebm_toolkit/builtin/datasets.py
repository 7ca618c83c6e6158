"""The data sets that come with the toolkit, as declarations. Torch-free.

`data_shape` is the shape of one example where the options alone decide it, so that
`vaebm run --dry-run` can describe a run on a machine without the files; else None.
"""

from __future__ import annotations

from typing import Literal

from vaebm_toolkit import Check, Component, between, frozen, ge, gt, opt

Shape = tuple[int, ...]
NAMED = Check("not empty", bool)
Channels = Literal["data", "grey", "rgb"]


@frozen
class SizeOptions:
    """What is done to images of any source, in this order: resize and crop, quantise, pad."""

    size: int | None = opt(
        None,
        "resize the shorter side to this and crop the centre; none: as stored",
        check=between(1, 4096),
        unit="pixels",
    )
    pad: int = opt(0, "black pixels added on every side", check=ge(0), unit="pixels")
    bits: int = opt(8, "bits per value kept: x = floor(v / 2^(8 - bits)) / (2^bits - 1)", check=between(5, 8))
    limit: int | None = opt(None, "keep only the first N images of each split; none: all", check=ge(2))

    def shape_of(self, channels: int, height: int, width: int) -> Shape:
        """(C, H, W) of a stored image after these options."""
        height, width = (height, width) if self.size is None else (self.size, self.size)
        return (channels, height + 2 * self.pad, width + 2 * self.pad)


@frozen
class ImageOptions(SizeOptions):
    """What every image source can do; grey or RGB comes before the rest."""

    flip: bool = opt(False, "in training, mirror each image left to right with probability 1/2")
    channels: Channels = opt("data", "as stored, one grey channel, or three colours")

    def shape_of(self, channels: int, height: int, width: int) -> Shape:
        """(C, H, W) of a stored image after these options."""
        channels = {"data": channels, "grey": 1, "rgb": 3}[self.channels]
        return super().shape_of(channels, height, width)

    @property
    def data_shape(self) -> Shape | None:
        """Known when the size and the number of channels are options."""
        if self.size is None or self.channels == "data":
            return None
        return self.shape_of(3, self.size, self.size)


@frozen
class FileOptions(ImageOptions):
    """Sources of many image files."""

    memory: float = opt(
        4.0,
        "decode once into memory up to this size; above it, decode at every access",
        check=ge(0),
        unit="GiB",
        unseen=True,
    )
    verify: bool = opt(
        True,
        "decode every file before step 0 also where they do not fit in memory, to find bad ones",
        unseen=True,
    )
    verify_limit: int | None = opt(
        100_000,
        "of more files than this that do not fit in memory, decode only 1,000 before step 0; none: all",
        check=ge(0),
        unseen=True,
    )


@frozen
class ImageFolderOptions(FileOptions):
    path: str | None = opt(
        None, "a folder or zip of images: flat, one folder per class, or train/ and test/", check=NAMED
    )
    test_path: str | None = opt(None, "the same for the test split; none: split off `test_share`")
    test_share: float = opt(
        0.1, "share held out for testing, chosen by a hash of the file name", check=between(0.001, 0.9)
    )


Raw = Literal["no", "rgb", "grey"]


@frozen
class LmdbOptions(FileOptions):
    """As the released code of NVAE and VAEBM keeps CelebA 64: train.lmdb and validation.lmdb."""

    path: str | None = opt(
        None,
        "an LMDB, folder or file, whose values are images; or a folder with train.lmdb and test.lmdb or "
        "validation.lmdb",
        check=NAMED,
    )
    test_path: str | None = opt(None, "an LMDB for the test split; none: split off `test_share`")
    test_share: float = opt(
        0.1, "share held out for testing, chosen by a hash of the key", check=between(0.001, 0.9)
    )
    raw: Raw = opt(
        "no", "values are image files; or they are pixels of square images, three bytes each or one"
    )


@frozen
class WebDatasetOptions(FileOptions):
    path: str | None = opt(
        None,
        "tar shards of images: a folder, 'DIR/*.tar', 'shard-{000..009}.tar'; or a folder with train/ and "
        "test/ or val/",
        check=NAMED,
    )
    test_path: str | None = opt(None, "the same for the test split; none: split off `test_share`")
    test_share: float = opt(
        0.1, "share held out for testing, chosen by a hash of shard and file name", check=between(0.001, 0.9)
    )


@frozen
class NpzOptions(ImageOptions):
    path: str | None = opt(
        None, "an .npz with `images` uint8 (N, H, W, C) or (N, H, W) and maybe `labels`; or a folder "
        "with train.npz and test.npz", check=NAMED
    )  # fmt: skip
    test_path: str | None = opt(None, "the same for the test split; none: split off `test_share`")
    test_share: float = opt(
        0.1, "share held out for testing, chosen by a hash of the index", check=between(0.001, 0.9)
    )


_ROOT = "folder with torchvision's files, or with train.npz and test.npz"


@frozen
class MnistOptions(ImageOptions):
    """Default: 28 × 28 as published; NVAE pads by 2."""

    root: str = opt("data", _ROOT)
    binarise: bool = opt(
        False, "each value 0 or 1 with its grey as probability, drawn anew at every access in training"
    )
    download: bool = opt(False, "fetch the files into `root` if they are missing")

    @property
    def data_shape(self) -> Shape:
        return self.shape_of(1, 28, 28)


@frozen
class StackedMnistOptions(SizeOptions):
    """Three digits of one MNIST split, drawn independently and uniformly, in the channels."""

    root: str = opt("data", "folder with MNIST: torchvision's files, or train.npz and test.npz")
    download: bool = opt(False, "fetch the files into `root` if they are missing")
    size: int | None = opt(
        None, "resize the digits to this; none: 28 as published", check=between(8, 4096), unit="pixels"
    )
    train_size: int = opt(50_000, "training images, of MNIST's training digits", check=ge(2))
    test_size: int = opt(10_000, "test images, of MNIST's test digits", check=ge(2))
    seed: int = opt(0, "stream the digits are drawn from", check=ge(0))

    @property
    def data_shape(self) -> Shape:
        return self.shape_of(3, 28, 28)


@frozen
class Cifar10Options(ImageOptions):
    root: str = opt("data", _ROOT + ", or train.zip and test.zip with one folder per class")
    download: bool = opt(False, "fetch the files into `root` if they are missing")
    flip: bool = opt(True, "in training, mirror each image left to right with probability 1/2")

    @property
    def data_shape(self) -> Shape:
        return self.shape_of(3, 32, 32)


@frozen
class CelebaOptions(FileOptions):
    """NVAE's CelebA 64: crop to columns 15..163 and rows 40..188, then resize."""

    root: str = opt("data", "folder with celeba/img_align_celeba and celeba/list_eval_partition.txt")
    download: bool = opt(False, "fetch the files into `root` if they are missing (needs `pip install gdown`)")
    size: int | None = opt(
        64, "resize the 148 × 148 crop to this; none: leave it", check=between(1, 4096), unit="pixels"
    )  # fmt: skip
    flip: bool = opt(True, "in training, mirror each image left to right with probability 1/2")

    @property
    def data_shape(self) -> Shape:
        return self.shape_of(3, 148, 148)


@frozen
class LsunOptions(FileOptions):
    root: str = opt("data", "folder with CATEGORY_train_lmdb and CATEGORY_val_lmdb")
    category: str = opt("church_outdoor", "LSUN category")
    size: int | None = opt(
        64,
        "resize the shorter side to this and crop the centre; none: as stored",
        check=between(1, 4096),
        unit="pixels",
    )
    flip: bool = opt(True, "in training, mirror each image left to right with probability 1/2")

    @property
    def data_shape(self) -> Shape | None:
        return None if self.size is None else self.shape_of(3, self.size, self.size)


@frozen
class DigitsOptions:
    pad: int = opt(0, "black pixels added on every side", check=ge(0), unit="pixels")
    limit: int | None = opt(None, "keep only the first N images of each split; none: all", check=ge(2))

    @property
    def data_shape(self) -> Shape:
        return (1, 8 + 2 * self.pad, 8 + 2 * self.pad)


@frozen
class Gaussians25Options:
    std: float = opt(0.1, "standard deviation of each Gaussian; the grid's spacing is 2", check=gt(0))
    train_size: int = opt(50_000, "training points", check=ge(2))
    test_size: int = opt(10_000, "test points", check=ge(2))
    seed: int = opt(0, "stream the points are drawn from", check=ge(0))

    @property
    def data_shape(self) -> Shape:
        return (2,)


def _dataset(
    name: str, module: str, options: type, summary: str, *, recipe: str = "images", **sources: str
) -> Component:
    factory = f"vaebm_toolkit.builtin.data.{module}"
    return Component(
        kind="dataset", name=name, factory=factory, options=options, summary=summary, recipe=recipe, **sources
    )


COMPONENTS: tuple[Component, ...] = (
    _dataset(
        "digits",
        "digits:build",
        DigitsOptions,
        "1,797 handwritten digits, 8 × 8 grey; inside the package",
        recipe="digits",
        cite="Alpaydin & Kaynak, 1998, UCI, doi 10.24432/C50P49, CC BY 4.0",
        bibtex="alpaydin1998digits",
    ),
    _dataset(
        "gaussians25",
        "gaussians:build",
        Gaussians25Options,
        "25 Gaussians on a 5 × 5 grid in the plane; the density is known",
        recipe="gaussians25",
        cite="Xiao et al., VAEBM, ICLR 2021, figure 4",
        bibtex="xiao2021vaebm",
    ),
    _dataset(
        "image-folder", "folder:build", ImageFolderOptions, "your images: a folder or zip, classes or flat"
    ),
    _dataset("lmdb", "lmdb:build", LmdbOptions, "your images: LMDBs, as NVAE's code keeps CelebA"),
    _dataset(
        "webdataset", "webdataset:build", WebDatasetOptions, "your images: tar shards, with .cls as labels"
    ),
    _dataset("npz", "npz:build", NpzOptions, "your images: a NumPy .npz of uint8 arrays"),
    _dataset(
        "mnist",
        "mnist:build",
        MnistOptions,
        "70,000 handwritten digits, 28 × 28 grey",
        recipe="mnist",
        cite="LeCun, Cortes & Burges, 1998",
        bibtex="lecun1998mnist",
    ),
    _dataset(
        "fashion_mnist",
        "mnist:build_fashion",
        MnistOptions,
        "70,000 articles of clothing, 28 × 28 grey",
        recipe="fashion_mnist",
        cite="Xiao, Rasul & Vollgraf, 2017, arXiv 1708.07747",
        bibtex="xiao2017fashion",
    ),
    _dataset(
        "stacked-mnist",
        "stacked:build",
        StackedMnistOptions,
        "three MNIST digits in three channels, 28 × 28: 1,000 modes to cover",
        recipe="stacked-mnist",
        cite="Metz et al., Unrolled GANs, ICLR 2017, arXiv 1611.02163",
        bibtex="metz2017unrolled, lecun1998mnist",
    ),
    _dataset(
        "cifar10",
        "cifar:build",
        Cifar10Options,
        "60,000 photographs of 10 classes, 32 × 32 colour",
        recipe="cifar10",
        cite="Krizhevsky, 2009",
        bibtex="krizhevsky2009cifar",
    ),
    _dataset(
        "celeba",
        "celeba:build",
        CelebaOptions,
        "202,599 faces, cropped and resized",
        cite="Liu et al., ICCV 2015, arXiv 1411.7766",
        bibtex="liu2015celeba",
    ),
    _dataset(
        "lsun",
        "lsun:build",
        LsunOptions,
        "one category of LSUN, e.g. church_outdoor",
        cite="Yu et al., 2015, arXiv 1506.03365",
        bibtex="yu2015lsun",
    ),
)
