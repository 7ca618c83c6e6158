"""torchebm's samplers as a plugin. Torch-free: torchebm is imported when one is built."""

from collections.abc import Iterable

from vaebm_toolkit import Component, hookimpl
from vaebm_torchebm.options import HmcOptions, LangevinOptions

vaebm_api = 1

TORCHEBM = """@software{ghaderi2025torchebm,
  title  = {{TorchEBM}},
  author = {Ghaderi, Soran and {TorchEBM contributors}},
  year   = {2025},
  url    = {https://github.com/soran-ghaderi/torchebm}
}"""
PARISI = """@article{parisi1981langevin,
  title   = {Correlation functions and computer simulations},
  author  = {Parisi, Giorgio},
  journal = {Nuclear Physics B},
  volume  = {180},
  number  = {3},
  pages   = {378--384},
  year    = {1981}
}"""
DUANE = """@article{duane1987hmc,
  title   = {Hybrid {Monte} {Carlo}},
  author  = {Duane, Simon and Kennedy, A. D. and Pendleton, Brian J. and Roweth, Duncan},
  journal = {Physics Letters B},
  volume  = {195},
  number  = {2},
  pages   = {216--222},
  year    = {1987}
}"""


@hookimpl
def vaebm_components() -> Iterable[Component]:
    yield Component(
        kind="sampler",
        name="torchebm-ld",
        factory="vaebm_torchebm.sampler:Langevin",
        options=LangevinOptions,
        summary="torchebm's LangevinDynamics in ε-space",
        cite="Ghaderi et al., torchebm, 2025; Parisi, Nuclear Physics B, 1981",
        bibtex=f"{TORCHEBM}\n\n{PARISI}",
    )
    yield Component(
        kind="sampler",
        name="torchebm-hmc",
        factory="vaebm_torchebm.sampler:Hmc",
        options=HmcOptions,
        summary="torchebm's HamiltonianMonteCarlo in ε-space: proposals that are accepted or refused",
        cite="Ghaderi et al., torchebm, 2025; Duane et al., Physics Letters B, 1987",
        bibtex=f"{TORCHEBM}\n\n{DUANE}",
    )
