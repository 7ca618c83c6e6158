"""Options of the NVAE generator. Torch-free, so that listing them is quick."""

from __future__ import annotations

from typing import Literal

from vaebm_toolkit import derived, frozen, ge, opt


@frozen
class NVAEOptions:
    """Defaults: VAEBM's backbone on CIFAR-10, without its normalising-flow cells."""

    channels: int = opt(128, "channels at full resolution; doubled at each halving", check=ge(1))
    channels_dec: int | None = opt(None, "the same for the decoder; none: as the encoder", check=ge(1))
    scales: int = opt(1, "resolutions that carry latents", check=ge(1))
    groups: int = opt(30, "latent groups per scale, at the largest resolution", check=ge(1))
    ada_groups: bool = opt(False, "halve the number of groups at each smaller resolution")
    min_groups: int = opt(1, "groups per scale never fall below this when halved", check=ge(1))
    latent: int = opt(20, "latent channels per group", check=ge(1))
    preprocess_blocks: int = opt(1, "halvings of the image before the first latent scale", check=ge(0))
    preprocess_cells: int = opt(2, "cells per preprocessing block", check=ge(1))
    postprocess_blocks: int = opt(1, "doublings after the last latent scale; as many", check=ge(0))
    postprocess_cells: int = opt(2, "cells per postprocessing block", check=ge(1))
    cells_per_group_enc: int = opt(2, "encoder cells per latent group", check=ge(0))
    cells_per_group_dec: int = opt(2, "decoder cells per latent group", check=ge(0))
    cells: Literal["res_mbconv", "res_bnswish"] = opt(
        "res_mbconv", "residual cells: depthwise-separable in the decoder, or plain everywhere"
    )
    se: bool = opt(True, "squeeze-and-excitation in every cell")
    residual: bool = opt(True, "posterior parameters are relative to the prior's (NVAE, section 3.2)")

    @property
    def groups_per_scale(self) -> tuple[int, ...]:
        """Largest resolution first: n, then max(min_groups, n // 2) per smaller one if adaptive."""
        counts = [self.groups]
        for _ in range(self.scales - 1):
            counts.append(max(self.min_groups, counts[-1] // 2) if self.ada_groups else counts[-1])
        return tuple(counts)

    @derived("latent groups in all")
    def total_groups(self) -> int:
        return sum(self.groups_per_scale)

    @derived("image height and width must be multiples of this")
    def image_multiple(self) -> int:
        return 2 ** (self.preprocess_blocks + self.scales - 1)
