"""A classification network with one output as an energy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from vaebm_backbones import layers, libraries
from vaebm_backbones.libraries import Library, Values
from vaebm_backbones.options import BackboneOptions, check_images
from vaebm_backbones.weights import load_weights
from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import EnergyFunction

SIDES = (8, 16, 32, 64, 96, 128, 160, 192, 224, 256, 299, 320, 384)
"""Image sizes that are tried for the advice of an error."""


class BackboneEnergy(EnergyFunction):
    """E(x) = f((x − m) / s) on images in [0, 1], f a network with one output, m and s its normalisation.

    An image of one channel is seen as three equal ones. f is always in eval mode, so that there is no
    dropout, no stochastic depth and no statistic of the batch: E of an image depends on it alone. With
    `norm = "keep"` BatchNorm, and nothing else, goes by the batch in training mode.
    """

    def __init__(self, network: nn.Module, mean: Values, std: Values, norm: str, measure: bool) -> None:
        super().__init__()
        self.network, self.norm, self.measure = network, norm, measure
        # constants of the network: (3, 1, 1) against (B, 1 or 3, H, W)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x - self.mean) / self.std).squeeze(1)

    def train(self, mode: bool = True) -> BackboneEnergy:
        super().train(mode)
        self.network.eval()
        if self.norm == "keep":
            for norm in layers.batch_norms(self.network):
                norm.train(mode)
        return self

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """BatchNorm's fixed statistics become those of `x`, layer after layer, where no weights gave any."""
        if not self.measure:
            return
        norms = layers.batch_norms(self.network)
        momentum = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train()
            norm.momentum = 1.0  # the statistics of this batch, and none of those before
        self(x)
        for norm, before in zip(norms, momentum, strict=True):
            norm.momentum = before
        self.train(self.training)


def build_torchvision(options: BackboneOptions, shape: tuple[int, ...]) -> BackboneEnergy:
    """The energy for images of `shape` = (C, H, W) from a network of torchvision."""
    return build(libraries.torchvision, "torchvision", options, shape)


def build_timm(options: BackboneOptions, shape: tuple[int, ...]) -> BackboneEnergy:
    """The energy for images of `shape` = (C, H, W) from a network of timm."""
    return build(libraries.timm, "timm", options, shape)


def build(
    find: Callable[[], Library], energy: str, options: BackboneOptions, shape: tuple[int, ...]
) -> BackboneEnergy:
    check_images(shape, energy)
    library = find()
    library.check(options.model)
    size = (shape[1], shape[2])
    try:
        probe(library, options.model, size)
    except Exception as e:  # libraries raise what they please
        raise too_small(library, options.model, size, e) from e
    network = library.make(options.model, size, 1)
    if options.weights is not None:
        load_weights(network, options.weights, head(library, options.model, size))
    mean, std = library.normalisation(network)
    layers.without_side_heads(network)
    if options.norm == "group":
        layers.by_groups(network)
    if options.activation == "silu":
        layers.smooth(network)
    measure = options.norm == "frozen" and options.weights is None
    return BackboneEnergy(network, mean, std, options.norm, measure)


def probe(library: Library, name: str, size: tuple[int, int]) -> None:
    """Whatever the library raises where the network does not make one number of an image of `size`."""
    with torch.device("meta"), torch.no_grad():
        out = library.make(name, size, 1).eval()(torch.zeros(1, 3, *size))
        if not isinstance(out, Tensor) or out.shape != (1, 1):
            raise ValueError("it has no classifier with a single output")


def head(library: Library, name: str, size: tuple[int, int]) -> set[str]:
    """The tensors whose shape depends on the number of classes."""
    with torch.device("meta"):
        one, two = (library.make(name, size, outputs).state_dict() for outputs in (1, 2))
    return {k for k in one if one[k].shape != two[k].shape}


def too_small(library: Library, name: str, size: tuple[int, int], error: Exception) -> RecipeError:
    """What to read where a network cannot take the images, with the nearest size that it can take."""
    why = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    taken = list(fitting(library, name))
    side = min(taken, key=lambda s: abs(s - max(size)), default=None)
    advice = "" if side is None else f"It takes {side}×{side}: resize or pad the images, or choose"
    return RecipeError(
        f"energy.model: {name} of {library.name} does not take images of {size[0]}×{size[1]}: {why}.",
        f"{advice or 'Choose'} another network, e.g. --energy.model resnet18",
    )


def fitting(library: Library, name: str) -> Iterable[int]:
    for side in SIDES:
        try:
            probe(library, name, (side, side))
        except Exception:
            continue
        yield side
