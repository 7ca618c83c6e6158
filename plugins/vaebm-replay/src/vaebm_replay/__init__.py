"""The replay buffer as a plugin: chains that persist between training steps. Torch-free."""

from collections.abc import Iterable

from vaebm_replay.options import ReplayOptions
from vaebm_toolkit import Component, hookimpl


@hookimpl
def vaebm_components() -> Iterable[Component]:
    yield Component(
        kind="buffer",
        name="replay",
        factory="vaebm_replay.buffer:build",
        options=ReplayOptions,
        summary="replay buffer of chain ends, VAEBM's and IGEBM's persistent chains",
        example={"capacity": 16, "anneal_steps": 10},
        cite="Xiao et al., VAEBM, ICLR 2021, arXiv 2010.00654, section 5.2; Tieleman, PCD, ICML 2008",
        bibtex="xiao2021vaebm, tieleman2008pcd",
    )
