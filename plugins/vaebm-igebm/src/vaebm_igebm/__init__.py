"""The energy networks of IGEBM and VAEBM as a plugin. Torch-free: they are imported when built."""

from collections.abc import Iterable

from vaebm_igebm.options import IGEBMImportOptions, IGEBMOptions, ResNetOptions
from vaebm_toolkit import Component, hookimpl


@hookimpl
def vaebm_components() -> Iterable[Component]:
    yield Component(
        kind="energy",
        name="resnet",
        factory="vaebm_igebm.resnet:build",
        options=ResNetOptions,
        summary="residual energy network for images, VAEBM's",
        example={"width": 4},
        cite="Xiao et al., VAEBM, ICLR 2021, arXiv 2010.00654, appendix E",
        bibtex="xiao2021vaebm",
    )
    yield Component(
        kind="energy",
        name="igebm",
        factory="vaebm_igebm.igebm:build",
        options=IGEBMOptions,
        summary="spectrally normalised energy network for images, IGEBM's, with or without classes",
        example={"width": 4},
        cite="Du & Mordatch, NeurIPS 2019, arXiv 1903.08689",
        bibtex="du2019igebm",
    )
    yield Component(
        kind="importer",
        name="energy",
        factory="vaebm_igebm.released:read_energy",
        summary="an energy network of VAEBM's released code, EBM_<iteration>.pth",
        cite="Xiao et al., VAEBM, ICLR 2021, arXiv 2010.00654; github.com/NVlabs/VAEBM",
        bibtex="xiao2021vaebm",
    )
    yield Component(
        kind="importer",
        name="igebm",
        factory="vaebm_igebm.released:read_igebm",
        options=IGEBMImportOptions,
        summary="an IGEBM network of igebm-pytorch, a state dict",
        cite="Du & Mordatch, NeurIPS 2019, arXiv 1903.08689; github.com/rosinality/igebm-pytorch",
        bibtex="du2019igebm",
    )
