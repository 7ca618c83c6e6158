"""Options of the energies from classification networks. Torch-free."""

from __future__ import annotations

from typing import Literal

from vaebm_toolkit import RecipeError, frozen, opt


@frozen
class BackboneOptions:
    """Defaults: a small network that is a smooth function of each image alone."""

    model: str = opt("resnet18", "the network, by its name in the library")
    weights: str | None = opt(
        None,
        "file with weights to start from: .safetensors, or .pt and .pth read weights-only; none: new ones",
    )
    norm: Literal["group", "frozen", "keep"] = opt(
        "group",
        "BatchNorm becomes GroupNorm; or keeps fixed statistics, of the weights or of data before step 0; "
        "or stays as it is, by the batch in training (for a wgan, not for chains)",
    )
    activation: Literal["silu", "keep"] = opt(
        "silu", "ReLU and other activations with kinks become SiLU, or stay as they are"
    )


def check_images(shape: tuple[int, ...], energy: str) -> None:
    """RecipeError where the data are not images of one or three channels, (C, H, W)."""
    if len(shape) != 3:
        raise RecipeError(
            f"energy {energy} is for images (channels, height, width); this data has shape {shape}.",
            "For vectors: --energy mlp",
        )
    if shape[0] not in (1, 3):
        raise RecipeError(
            f"energy {energy} is for images of 1 or 3 channels; these have {shape[0]}.",
            "For any number of channels: --energy resnet",
        )
