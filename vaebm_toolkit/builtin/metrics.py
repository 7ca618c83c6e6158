"""The built-in metrics' options. Torch-free."""

from __future__ import annotations

from vaebm_toolkit import Component

COMPONENTS = (
    Component(
        kind="metric",
        name="frechet",
        factory="vaebm_toolkit.builtin.distances:pixel_frechet",
        summary="Fréchet distance on pixels (or coordinates) to the test split",
        cite="Heusel et al., NeurIPS 2017, arXiv 1706.08500, with pixels for features",
    ),
    Component(
        kind="metric",
        name="density",
        factory="vaebm_toolkit.builtin.likelihoods:density",
        summary="exact test log-likelihood of data in the plane, log Z by quadrature",
        cite="Burda et al., ICLR 2016, arXiv 1509.00519, for p(x) of the generator",
    ),
    Component(
        kind="metric",
        name="frechet-classifier",
        factory="vaebm_toolkit.builtin.distances:classifier_frechet",
        summary="Fréchet distance on the features of a small classifier trained on the data's labels",
        cite="Heusel et al., NeurIPS 2017, arXiv 1706.08500, with a classifier for Inception",
    ),
    Component(
        kind="metric",
        name="modes",
        factory="vaebm_toolkit.builtin.modes:build",
        summary="how many of the data's modes the samples cover, and how evenly",
        cite="Metz et al., Unrolled GANs, ICLR 2017, arXiv 1611.02163",
    ),
)
