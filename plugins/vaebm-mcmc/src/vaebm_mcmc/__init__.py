"""Metropolis-adjusted samplers in the generator's noise: Langevin, Hamiltonian, tempered."""

from collections.abc import Iterable

from vaebm_mcmc.options import HmcOptions, MalaOptions, TemperedOptions
from vaebm_toolkit import Component, hookimpl


@hookimpl
def vaebm_components() -> Iterable[Component]:
    yield Component(
        kind="sampler",
        name="latent-mala",
        factory="vaebm_mcmc.mala:LatentMala",
        options=MalaOptions,
        summary="Langevin dynamics in ε-space with a Metropolis test of each step",
        cite="Roberts & Tweedie, Bernoulli 2(4), 1996",
        bibtex="roberts1996langevin, andrieu2008adaptive",
    )
    yield Component(
        kind="sampler",
        name="latent-hmc",
        factory="vaebm_mcmc.hmc:LatentHmc",
        options=HmcOptions,
        summary="Hamiltonian Monte Carlo in ε-space",
        cite="Neal, Handbook of Markov Chain Monte Carlo, 2011, arXiv 1206.1901",
        bibtex="neal2011mcmc, andrieu2008adaptive",
    )
    yield Component(
        kind="sampler",
        name="latent-tempered",
        factory="vaebm_mcmc.tempered:LatentTempered",
        options=TemperedOptions,
        summary="Hamiltonian Monte Carlo at several temperatures of the energy, which change places",
        cite="Geyer, Interface 1991; trajectories as in latent-hmc",
        bibtex="geyer1991tempering, neal2011mcmc, tierney1994mcmc, andrieu2008adaptive",
    )
