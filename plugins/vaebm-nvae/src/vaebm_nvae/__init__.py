"""NVAE as a generator: a deep hierarchical VAE whose latents are the noise VAEBM's chains run in."""

from collections.abc import Iterable

from vaebm_nvae.options import NVAEOptions
from vaebm_toolkit import Component, hookimpl


@hookimpl
def vaebm_components() -> Iterable[Component]:
    yield Component(
        kind="generator",
        name="nvae",
        factory="vaebm_nvae.network:build",
        options=NVAEOptions,
        summary="Deep hierarchical VAE for images, VAEBM's generator",
        cite="Vahdat & Kautz, NVAE, NeurIPS 2020, arXiv 2007.03898",
    )
