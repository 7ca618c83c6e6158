"""Options of the generator from diffusers. Torch-free."""

from __future__ import annotations

from vaebm_toolkit import RecipeError, frozen, ge, gt, opt

OF_A_NEW_ONE = ("channels", "layers", "latent", "norm_groups", "attention")
"""Options that say nothing about a network that is read."""


@frozen
class AutoencoderOptions:
    """Defaults: a new network that learns small images in minutes."""

    path: str | None = opt(
        None, "folder of a trained one, config.json and diffusion_pytorch_model.safetensors; none: a new one"
    )
    channels: tuple[int, ...] = opt(
        (32, 64), "of a new one: channels at each size; the image is halved from one to the next", check=ge(1)
    )
    layers: int = opt(1, "of a new one: residual blocks at each size", check=ge(1))
    latent: int = opt(4, "of a new one: channels of the latents", check=ge(1), unit="channels")
    norm_groups: int = opt(8, "of a new one: groups of its GroupNorm", check=ge(1))
    attention: bool = opt(False, "of a new one: self-attention at the smallest size")
    sigma: float = opt(
        0.1, "standard deviation σ of p(x|z), the same for every pixel of images in [0, 1]", check=gt(0)
    )
    learn_sigma: bool = opt(True, "σ is learned, from there on")
    calibrate: bool = opt(
        False, "before step 0, take mean and spread of each channel of latents, and σ, from training images"
    )

    def check(self) -> None:
        """RecipeError where the options do not fit each other."""
        if not self.channels:
            raise RecipeError("generator.channels: there must be one size at least.", "E.g. 32,64")
        if self.path is not None:
            for key in OF_A_NEW_ONE:
                if getattr(self, key) != getattr(AutoencoderOptions(), key):
                    raise RecipeError(
                        f"generator.{key}: the network in {self.path} has its own.",
                        "Leave it out, or leave generator.path out for a new network.",
                    )
        for width in self.channels:
            if width % self.norm_groups:
                raise RecipeError(
                    f"generator.norm_groups: {self.norm_groups} groups do not divide {width} channels.",
                    f"Choose multiples of {self.norm_groups} as generator.channels, or other groups.",
                )


def check_images(shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise RecipeError(
            f"generator autoencoder-kl is for images (channels, height, width); this data has shape {shape}.",
            "For vectors: --generator mlp",
        )
