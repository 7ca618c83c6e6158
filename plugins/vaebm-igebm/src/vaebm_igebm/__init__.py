"""VAEBM's energy network as a plugin. Torch-free: the network is imported when it is built."""

from collections.abc import Iterable

from vaebm_igebm.options import ResNetOptions
from vaebm_toolkit import Component, hookimpl


@hookimpl
def vaebm_components() -> Iterable[Component]:
    yield Component(
        kind="energy",
        name="resnet",
        factory="vaebm_igebm.resnet:build",
        options=ResNetOptions,
        summary="residual energy network for images, VAEBM's",
        cite="Xiao et al., VAEBM, ICLR 2021, arXiv 2010.00654, appendix E",
    )
