"""Langevin dynamics: one kernel, three sets of defaults (latent, data and joint space)."""

from collections.abc import Iterable

from vaebm_langevin.options import DataOptions, JointOptions, LatentOptions
from vaebm_toolkit import Component, hookimpl


@hookimpl
def vaebm_components() -> Iterable[Component]:
    yield Component(
        kind="sampler",
        name="latent-ld",
        factory="vaebm_langevin.kernel:LatentLangevin",
        options=LatentOptions,
        summary="Langevin dynamics in ε-space, VAEBM's sampler",
        cite="Xiao et al., VAEBM, ICLR 2021, arXiv 2010.00654, eq. 7",
        bibtex="xiao2021vaebm",
    )
    yield Component(
        kind="sampler",
        name="data-ld",
        factory="vaebm_langevin.kernel:DataLangevin",
        options=DataOptions,
        summary="Langevin dynamics on data, IGEBM's sampler",
        cite="Du & Mordatch, NeurIPS 2019, arXiv 1903.08689",
        bibtex="du2019igebm",
    )
    yield Component(
        kind="sampler",
        name="joint-ld",
        factory="vaebm_langevin.kernel:JointLangevin",
        options=JointOptions,
        summary="Langevin dynamics on (z, x) without reparametrisation; shown to fail, for the ablation",
        cite="Xiao et al., VAEBM, ICLR 2021, arXiv 2010.00654, appendix",
        bibtex="xiao2021vaebm",
    )
