"""Options of the NVAE generator. Torch-free, so that listing them is quick."""

from __future__ import annotations

from typing import Literal

from vaebm_toolkit import between, derived, frozen, ge, opt

Cells = Literal[
    "res_mbconv", "res_bnswish", "res_bnelu", "res_elu", "mbconv_sep", "mbconv_sep11", "mbconv_den",
    "res53_mbconv", "res35_mbconv", "res55_mbconv", "mbconv_res",
]  # fmt: skip
"""The released code's names of cell types; `cells.ARCHS` says what each is made of."""


@frozen
class NVAEOptions:
    """Defaults: VAEBM's backbone on CIFAR-10, without its normalising-flow cells."""

    channels: int = opt(128, "channels at full resolution; doubled at each halving", check=ge(2))
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
    cells: Cells = opt(
        "res_mbconv", "residual cells, e.g. depthwise-separable in the decoder and plain in the encoder"
    )
    se: bool = opt(True, "squeeze-and-excitation in every cell")
    residual: bool = opt(True, "posterior parameters are relative to the prior's (NVAE, section 3.2)")
    flows: int = opt(0, "normalising-flow cells per group, in the posterior; 0: none", check=ge(0))
    head: Literal["gaussian", "logistic-mixture", "logistic", "bernoulli"] = opt(
        "gaussian", "distribution of the image given the latents; VAEBM needs gaussian"
    )
    mixtures: int = opt(10, "components of the logistic mixture", check=ge(1))
    bits: int = opt(8, "bits per value of the images the model is for", check=between(5, 8), unit="bits")
    pad: int = opt(
        0,
        "black pixels added on every side inside the network; they do not count",
        check=ge(0),
        unit="pixels",
    )
    prior: Literal["exact", "official"] = opt(
        "exact", "first group: N(0, 1), or σ = 1.01 as released, where exp(0) + 0.01 is the scale"
    )
    logistic: Literal["exact", "official"] = opt(
        "exact", "logistic heads: as derived, or the released bins, mean and temperature (see README)"
    )
    density_floor: float | None = opt(
        -2.0, "the official target's floor of log σ_x, in the density but not in the draw; none: none"
    )
    recompute: bool = opt(
        False,
        "keep a cell's input alone for the backward pass and compute the rest again: less memory, more time",
        unseen=True,
    )

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
