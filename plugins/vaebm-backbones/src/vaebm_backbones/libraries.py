"""The networks that torchvision and timm know by name. Nothing is downloaded."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from vaebm_toolkit import RecipeError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation per channel that torchvision's networks are normalised by."""

Values = tuple[float, ...]


class Library(NamedTuple):
    name: str
    names: list[str]
    """of its classification networks"""
    make: Callable[[str, tuple[int, int], int], nn.Module]
    """(name, (height, width), outputs) -> a network with new weights"""
    normalisation: Callable[[nn.Module], tuple[Values, Values]]
    """mean and standard deviation per channel of the images in [0, 1] that a network expects"""

    def check(self, name: str) -> None:
        """RecipeError with similar names where there is no such network."""
        plain = name.partition(".")[0] if self.name == "timm" else name  # timm's may name weights after a dot
        if plain in self.names:
            return
        close = difflib.get_close_matches(name, self.names, n=3, cutoff=0.6)
        raise RecipeError(
            f'energy.model: {self.name} has no classification network called "{name}".',
            f"Did you mean {' or '.join(close)}?"
            if close
            else f'List them: python -c "import {self.name}; print(*{LISTING[self.name]})"',
        )


LISTING = {"torchvision": "torchvision.models.list_models()", "timm": "timm.list_models()"}


def torchvision() -> Library:
    from torchvision import models

    def make(name: str, size: tuple[int, int], outputs: int) -> nn.Module:
        given: dict[str, object] = {}
        if name.startswith("vit_"):
            if size[0] != size[1]:
                raise ValueError("it is for square images")
            given["image_size"] = size[0]
        elif name.startswith("maxvit_"):
            given["input_size"] = size
        elif name in ("googlenet", "inception_v3"):
            given["init_weights"] = True
        if name.startswith("regnet_"):  # computes its widths with tensors, which the meta device cannot
            with torch.device("cpu"):
                network = models.get_model(name, weights=None, num_classes=outputs)
            return network.to(torch.get_default_device())
        return models.get_model(name, weights=None, num_classes=outputs, **given)

    return Library("torchvision", models.list_models(module=models), make, lambda network: IMAGENET)


def timm() -> Library:
    try:
        import timm
    except ModuleNotFoundError as e:
        raise RecipeError(
            f"energy timm needs a package that is not installed: {e.name}.",
            "Install it: pip install timm, or use torchvision's networks: --energy torchvision",
        ) from e

    def make(name: str, size: tuple[int, int], outputs: int) -> nn.Module:
        about = timm.models.get_pretrained_cfg(name)
        given = {"img_size": size} if about is not None and about.fixed_input_size else {}
        return timm.create_model(name, pretrained=False, num_classes=outputs, **given)

    def normalisation(network: nn.Module) -> tuple[Values, Values]:
        return network.pretrained_cfg["mean"], network.pretrained_cfg["std"]

    return Library("timm", timm.list_models(), make, normalisation)
