"""Built-in generator and energy: multilayer perceptrons for vectors. Torch-free."""

from __future__ import annotations

from vaebm_toolkit import Component, frozen, ge, gt, opt


@frozen
class GeneratorOptions:
    """Defaults: made for 25-Gaussians, adequate for small images."""

    width: int = opt(256, "hidden units per layer", check=ge(1), unit="units")
    depth: int = opt(3, "hidden layers of encoder and decoder", check=ge(1), unit="layers")
    latent: int | None = opt(
        None, "dimension of z0; none: as many as the data has values, at most 20", check=ge(1)
    )
    min_sigma: float = opt(0.05, "smallest decoder standard deviation, in data units", check=gt(0))


@frozen
class EnergyOptions:
    width: int = opt(256, "hidden units per layer", check=ge(1), unit="units")
    depth: int = opt(3, "hidden layers, each followed by a swish", check=ge(1), unit="layers")


COMPONENTS = (
    Component(
        kind="generator",
        name="mlp",
        factory="vaebm_toolkit.builtin.mlp:build_generator",
        options=GeneratorOptions,
        summary="one-latent Gaussian VAE of fully connected layers, for vectors and small images",
        example={"width": 16, "depth": 1, "latent": 2},
        cite="Kingma & Welling, Auto-Encoding Variational Bayes, ICLR 2014, arXiv 1312.6114",
        bibtex="kingma2014vae",
    ),
    Component(
        kind="energy",
        name="mlp",
        factory="vaebm_toolkit.builtin.mlp:build_energy",
        options=EnergyOptions,
        summary="fully connected energy with swish activations, for vectors and small images",
        example={"width": 16, "depth": 1},
        cite="Xiao et al., VAEBM, ICLR 2021, arXiv 2010.00654, section 5.1 (25-Gaussians)",
        bibtex="xiao2021vaebm",
    ),
)
