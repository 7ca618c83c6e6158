"""NVAE as a generator: a deep hierarchical VAE whose latents are the noise VAEBM's chains run in."""

from collections.abc import Iterable

from vaebm_nvae.importing import ImportOptions
from vaebm_nvae.options import NVAEOptions
from vaebm_toolkit import Component, hookimpl

SMALL = {
    "channels": 4, "scales": 2, "groups": 2, "ada_groups": True, "latent": 2, "preprocess_cells": 1,
    "postprocess_cells": 1, "cells_per_group_enc": 1, "cells_per_group_dec": 1,
}  # fmt: skip


@hookimpl
def vaebm_components() -> Iterable[Component]:
    yield Component(
        kind="generator",
        name="nvae",
        factory="vaebm_nvae.network:build",
        options=NVAEOptions,
        summary="Deep hierarchical VAE for images, VAEBM's generator",
        example=SMALL,
        cite="Vahdat & Kautz, NVAE, NeurIPS 2020, arXiv 2007.03898",
        bibtex="vahdat2020nvae",
    )
    yield Component(
        kind="importer",
        name="nvae",
        factory="vaebm_nvae.released:read",
        options=ImportOptions,
        summary="a generator of NVAE's or VAEBM's released code, checkpoint.pt",
        cite="Vahdat & Kautz, NVAE, NeurIPS 2020, arXiv 2007.03898; github.com/NVlabs/NVAE",
        bibtex="vahdat2020nvae",
    )
