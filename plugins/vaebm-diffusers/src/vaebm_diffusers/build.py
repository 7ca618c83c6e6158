"""A new AutoencoderKL, or one from a local folder. Nothing is downloaded, nothing in a file is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from vaebm_diffusers.options import AutoencoderOptions, check_images
from vaebm_toolkit import RecipeError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

    from vaebm_diffusers.autoencoder import KLAutoencoder

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
SHOWN = 5
"""names of tensors in an error"""


def build(options: AutoencoderOptions, shape: tuple[int, ...]) -> KLAutoencoder:
    """The generator for images of `shape` = (C, H, W)."""
    check_images(shape)
    options.check()
    try:
        from vaebm_diffusers.autoencoder import KLAutoencoder, halving
    except ModuleNotFoundError as e:
        raise RecipeError(
            f"generator autoencoder-kl needs a package that is not installed: {e.name}.",
            "Install it: pip install diffusers",
        ) from e
    network = new(options, shape) if options.path is None else read(Path(options.path))
    if network.config.in_channels != shape[0] or network.config.out_channels != shape[0]:
        raise RecipeError(
            f"generator.path: the network in {options.path} is for images of {network.config.in_channels} "
            f"channels; these have {shape[0]}.",
            "Choose another network, or convert the images.",
        )
    factor = halving(network)
    if shape[1] % factor or shape[2] % factor:
        wanted = "×".join(str(-(-side // factor) * factor) for side in shape[1:])
        raise RecipeError(
            f"generator autoencoder-kl makes images {factor} times smaller, which {shape[1]}×{shape[2]} "
            "does not allow.",
            f"Pad or resize the images to multiples of {factor}: {wanted}.",
        )
    return KLAutoencoder(network, shape, options)


def new(options: AutoencoderOptions, shape: tuple[int, ...]) -> AutoencoderKL:
    """A network with new weights. Its latents are N(0, 1) under the prior: m = 0, s = 1."""
    from diffusers import AutoencoderKL

    sizes = len(options.channels)
    return AutoencoderKL(
        in_channels=shape[0],
        out_channels=shape[0],
        down_block_types=("DownEncoderBlock2D",) * sizes,
        up_block_types=("UpDecoderBlock2D",) * sizes,
        block_out_channels=options.channels,
        layers_per_block=options.layers,
        latent_channels=options.latent,
        norm_num_groups=options.norm_groups,
        sample_size=max(shape[1:]),
        scaling_factor=1.0,
        mid_block_add_attention=options.attention,
    )


def read(folder: Path) -> AutoencoderKL:
    """The network of a folder that diffusers' `save_pretrained` wrote, every tensor in its place.

    On the meta device it is read and compared as well, and its values are then forgotten.
    """
    from diffusers import AutoencoderKL

    check_folder(folder)
    try:
        with torch.device("cpu"):
            network, found = AutoencoderKL.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                low_cpu_mem_usage=False,
                output_loading_info=True,
            )
    except Exception as e:  # what diffusers makes of a damaged file is not foreseeable
        raise RecipeError(
            f"generator.path: {folder} cannot be read: {' '.join(str(e).split())[:200]}",
            "Save it again with save_pretrained(FOLDER).",
        ) from e
    complaints = [
        f"{what}: {', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}"
        for what in ("missing", "unexpected")
        if (names := sorted(found[f"{what}_keys"]))
    ]
    if complaints:
        raise RecipeError(
            f"generator.path: {WEIGHTS} does not fit {CONFIG} in {folder}. {'; '.join(complaints)}.",
            "Save both again with save_pretrained(FOLDER).",
        )
    # diffusers' own `to` warns of layers to be kept in float32, of which this network has none
    return nn.Module.to(network, device=torch.get_default_device(), dtype=torch.get_default_dtype())


def check_folder(folder: Path) -> None:
    """RecipeError unless the folder holds an AutoencoderKL."""
    inner = folder / "vae"
    if not (folder / CONFIG).is_file():
        raise RecipeError(
            f"generator.path: there is no {folder / CONFIG}.",
            f"Give the part of the pipeline: --generator.path {inner}"
            if (inner / CONFIG).is_file()
            else f"Give a folder with {CONFIG} and {WEIGHTS}; nothing is downloaded.",
        )
    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["_class_name"]
    except (ValueError, LookupError, TypeError) as e:
        raise RecipeError(
            f"generator.path: {folder / CONFIG} describes no network.",
            "Save it again with save_pretrained(FOLDER).",
        ) from e
    if kind != "AutoencoderKL":
        raise RecipeError(
            f"generator.path: {folder} holds a network of the kind {kind}, not AutoencoderKL.",
            "Choose a folder with an AutoencoderKL.",
        )
    if not (folder / WEIGHTS).is_file():
        raise RecipeError(
            f"generator.path: there is no {folder / WEIGHTS}.",
            "Weights are read from safetensors alone: save_pretrained(FOLDER, safe_serialization=True)",
        )
