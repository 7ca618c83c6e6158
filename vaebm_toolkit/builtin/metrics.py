"""The built-in metrics and feature spaces. Torch-free."""

from __future__ import annotations

from vaebm_toolkit import Component, frozen, ge, opt, slot


@frozen
class FrechetOptions:
    features: str = slot("features", "pixels", "the space that it is measured in")


@frozen
class ClassifierOptions:
    steps: int = opt(1000, "training steps of the classifier", check=ge(1))


COMPONENTS = (
    Component(
        kind="metric",
        name="frechet",
        factory="vaebm_toolkit.builtin.distances:Frechet",
        options=FrechetOptions,
        summary="Fréchet distance to the test split, in each of evaluate.features",
        cite="Heusel et al., NeurIPS 2017, arXiv 1706.08500, eq. 6",
        bibtex="heusel2017ttur",
    ),
    Component(
        kind="metric",
        name="density",
        factory="vaebm_toolkit.builtin.likelihoods:density",
        summary="exact test log-likelihood of data in the plane, log Z by quadrature",
        cite="Burda et al., ICLR 2016, arXiv 1509.00519, for p(x) of the generator",
        bibtex="burda2016iwae",
    ),
    Component(
        kind="metric",
        name="modes",
        factory="vaebm_toolkit.builtin.modes:build",
        summary="how many of the data's modes the samples cover, and how evenly",
        cite="Metz et al., Unrolled GANs, ICLR 2017, arXiv 1611.02163",
        bibtex="metz2017unrolled",
    ),
    Component(
        kind="features",
        name="pixels",
        factory="vaebm_toolkit.builtin.spaces:Pixels",
        summary="the values themselves",
    ),
    Component(
        kind="features",
        name="classifier",
        factory="vaebm_toolkit.builtin.spaces:ClassifierFeatures",
        options=ClassifierOptions,
        example={"steps": 20},
        summary="the last hidden layer of a small classifier trained on the data's labels",
    ),
)
