"""Options of the two energy networks, and the published layouts. Torch-free."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from vaebm_toolkit import RecipeError, frozen, ge, opt


class Block(NamedTuple):
    """A residual block: channels in and out, in multiples of the width, and whether it halves the size."""

    inputs: int
    outputs: int
    down: bool


def blocks(text: str) -> tuple[Block, ...]:
    """Blocks in the notation "1-1*,1-2": channels in and out in multiples of the width, * halves.

    >>> blocks("1-1*,1-2")
    (Block(inputs=1, outputs=1, down=True), Block(inputs=1, outputs=2, down=False))
    """
    found = []
    for part in text.split(","):
        inputs, outputs = part.rstrip("*").split("-")
        found.append(Block(int(inputs), int(outputs), part.endswith("*")))
    return tuple(found)


LAYOUTS: dict[str, tuple[Block, ...]] = {
    "mnist": blocks("1-1*,1-1,1-2*,2-2"),
    "cifar10": blocks("1-1*,1-1,1-2*,2-2,2-2*,2-2"),
    "celeba64": blocks("1-1*,1-1,1-2*,2-2,2-2*,2-4,4-4*,4-4"),
    "lsun64": blocks("1-1*,1-1,1-2*,2-2,2-2,2-2*,2-4,4-4,4-4*,4-4"),
    "celebahq256": blocks("1-1*,1-1,1-2*,2-2,2-2*,2-2,2-4*,4-4,4-4*,4-4,4-8*,8-8"),
}
"""VAEBM, appendix E: the energy networks by data set."""

MADE_FOR = {"mnist": 28, "cifar10": 32, "celeba64": 64, "celebahq256": 256}
"""Image side that `layout = "auto"` takes each layout for."""


@frozen
class ResNetOptions:
    """Defaults: the released code's width. The CIFAR-10 run of the paper has width 128."""

    width: int = opt(64, "channels of the first convolution", check=ge(1), unit="channels")
    layout: Literal["auto", "mnist", "cifar10", "celeba64", "lsun64", "celebahq256"] = opt(
        "auto", "residual blocks of the published network; auto: by the size of the images"
    )
    data_init: bool = opt(True, "set scales and biases from data before the first step (mean 0, std 0.2)")
    norm: Literal["weight", "spectral"] = opt(
        "weight", "convolutions have a learned scale per channel, or largest singular value 1 (for a wgan)"
    )
    batch_norm: bool = opt(
        False, "normalise by the batch after both convolutions of each block (for a wgan, not for chains)"
    )

    def blocks(self, shape: tuple[int, ...]) -> tuple[Block, ...]:
        """The residual blocks for images of `shape` = (C, H, W), or a RecipeError."""
        height, width = image_size(shape, "resnet")
        if self.layout != "auto":
            return self.fitting(self.layout, height, width)
        return LAYOUTS[nearest_layout(height, width)]

    def fitting(self, layout: str, height: int, width: int) -> tuple[Block, ...]:
        factor = halving(layout)
        if height % factor or width % factor:
            raise RecipeError(
                f"energy.layout: {layout} halves images {int(math.log2(factor))} times, "
                f"which {height}×{width} does not allow.",
                f"Pad or resize the images to multiples of {factor}, or choose a layout that halves less "
                "often (--energy.layout auto does).",
            )
        return LAYOUTS[layout]


@frozen
class IGEBMOptions:
    """Defaults: the released network on CIFAR-10, unconditional, its density fixed while a chain runs."""

    width: int = opt(128, "channels of the first convolution", check=ge(1), unit="channels")
    classes: int | None = opt(None, "classes y of E(x|y); none: unconditional", check=ge(1))
    label: int | None = opt(
        None, "the class y, from 0, that E(x|y) is taken for; none: all, E(x) = −log mean_y exp(−E(x|y))",
        check=ge(0),
    )  # fmt: skip
    bound: Literal["second", "all", "none"] = opt(
        "second", "convolutions whose largest singular value is at most 1 instead of 1: second of each block"
    )
    advance: Literal["training", "always"] = opt(
        "training", "forward passes that move the power iteration: in training, or all (released code)"
    )
    iterations: int = opt(1, "power iterations per forward pass", check=ge(1))

    def check(self, shape: tuple[int, ...]) -> None:
        """RecipeError where the network is not for images of `shape` = (C, H, W), or has no such class."""
        height, width = image_size(shape, "igebm")
        if height % 8 or width % 8:
            raise RecipeError(
                f"energy igebm halves images 3 times, which {height}×{width} does not allow.",
                f"Pad or resize the images to multiples of 8: {padded(height, 8)}×{padded(width, 8)}.",
            )
        if self.label is not None and self.classes is None:
            raise RecipeError(
                f"energy.label: {self.label} is a class, but the network is unconditional.",
                "Say how many classes there are, e.g. --energy.classes 10, or leave the label out.",
            )
        if self.label is not None and self.classes is not None and self.label >= self.classes:
            raise RecipeError(
                f"energy.label: there is no class {self.label} among {self.classes}.",
                f"Choose one from 0 to {self.classes - 1}.",
            )


def image_size(shape: tuple[int, ...], energy: str) -> tuple[int, int]:
    """Height and width of images (C, H, W), or a RecipeError for other data."""
    if len(shape) != 3:
        raise RecipeError(
            f"energy {energy} is for images (channels, height, width); this data has shape {shape}.",
            "For vectors: --energy mlp",
        )
    return shape[1], shape[2]


def padded(side: int, multiple: int) -> int:
    """The next multiple.

    >>> padded(28, 8), padded(32, 8)
    (32, 32)
    """
    return -(-side // multiple) * multiple


def halving(layout: str) -> int:
    """The factor by which a layout shrinks the side of an image.

    >>> halving("cifar10")
    8
    """
    return int(2 ** sum(block.down for block in LAYOUTS[layout]))


def nearest_layout(height: int, width: int) -> str:
    """The layout made for the nearest size (by ratio) among those that divide the image evenly.

    >>> nearest_layout(28, 28), nearest_layout(32, 32), nearest_layout(96, 64), nearest_layout(36, 36)
    ('mnist', 'cifar10', 'celeba64', 'mnist')
    """
    side = min(height, width)
    for name in sorted(MADE_FOR, key=lambda name: abs(math.log(side / MADE_FOR[name]))):
        if height % halving(name) == 0 and width % halving(name) == 0:
            return name
    multiple = halving("mnist")
    raise RecipeError(
        f"energy resnet halves images at least twice, which {height}×{width} does not allow.",
        f"Pad or resize the images to multiples of {multiple}: "
        f"{padded(height, multiple)}×{padded(width, multiple)}.",
    )


@frozen
class IGEBMImportOptions:
    weights: Literal["official", "trained"] = opt(
        "official",
        "the stored normalised weights, with which the released code goes on after loading, or the trained",
    )
