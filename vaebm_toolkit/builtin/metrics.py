"""The built-in metrics and feature spaces. Torch-free."""

from __future__ import annotations

from typing import Literal

from vaebm_toolkit import Component, between, frozen, ge, opt, slot


@frozen
class FrechetOptions:
    features: str = slot("features", "pixels", "the space that it is measured in")


@frozen
class KernelOptions:
    features: str = slot("features", "pixels", "the space that it is measured in")
    subsets: int = opt(100, "subsets whose mean it is", check=ge(2))
    subset: int = opt(1000, "rows of each", check=ge(2))
    limit: int = opt(50_000, "samples and reference examples at most, from the first", check=ge(2))


@frozen
class PrecisionOptions:
    features: str = slot("features", "pixels", "the space that it is measured in")
    neighbours: int = opt(3, "k of precision and recall", check=ge(1))
    density_neighbours: int = opt(5, "k of density and coverage", check=ge(1))
    limit: int = opt(10_000, "samples and reference examples at most, from the first", check=ge(2))


@frozen
class MemorisationOptions:
    features: str = slot("features", "pixels", "the space in which neighbours are near")
    limit: int = opt(10_000, "samples, training and held-out examples at most, from the first", check=ge(2))


@frozen
class ScoreOptions:
    features: str = slot("features", "classifier", "a space with classes")
    splits: int = opt(10, "parts whose mean it is", check=ge(1))


@frozen
class ChainsOptions:
    count: int = opt(64, "chains", check=ge(2))
    length: int | None = opt(
        None, "steps of the long chains, for R̂; none: ten times the sampler's, 500 at most", check=ge(2)
    )
    film: int = opt(8, "chains in the picture", check=between(1, 64))
    frames: int = opt(8, "steps in the picture, after the start", check=between(1, 64))


@frozen
class LikelihoodOptions:
    examples: int = opt(500, "examples scored, from the first", check=ge(2))
    draws: int = opt(50, "posterior samples per example, for log p(x)", check=ge(1))
    log_z: bool = opt(True, "log Z and log h too, where there is an energy")
    samples: int = opt(10_000, "samples of p_θ for the simple estimate of log Z", check=ge(2))
    temperatures: int = opt(100, "steps from p_θ to h", check=ge(1))
    chains: int = opt(64, "chains from each side", check=ge(2))
    leapfrog: int = opt(3, "leapfrog steps per transition", check=ge(1))
    transitions: int = opt(
        100, "transitions on h from an encoded training example to a start from above", check=ge(0)
    )


@frozen
class ClassifierOptions:
    steps: int = opt(1000, "training steps of the classifier", check=ge(1))


@frozen
class InceptionOptions:
    mode: Literal["clean", "legacy_tensorflow", "legacy_pytorch"] = opt(
        "clean",
        "clean-fid's mode: how images are resized, for which network; published: legacy_tensorflow",
    )
    weights: str | None = opt(
        None, "file of the mode's weights; none: the one at clean-fid's place, downloaded where there is none"
    )
    batch_size: int = opt(64, "images at once", check=ge(1), unseen=True)
    device: str = opt("auto", "where the network runs; auto: a GPU if there is one", unseen=True)


@frozen
class OodOptions:
    sets: tuple[str, ...] = opt(
        (),
        "other images, brought to the data's shape: NAME=PATH of a folder, zip or npz, or a data set's NAME",
    )
    examples: int = opt(1000, "examples of the data, and of each other set at most", check=ge(2))
    draws: int = opt(20, "importance weights per example, for log p", check=ge(1))


COMPONENTS = (
    Component(
        kind="metric",
        name="frechet",
        factory="vaebm_toolkit.builtin.distances:Frechet",
        options=FrechetOptions,
        summary="Fréchet distance to the test split, in each feature space",
        cite="Heusel et al., NeurIPS 2017, arXiv 1706.08500, eq. 6",
        bibtex="heusel2017ttur",
    ),
    Component(
        kind="metric",
        name="kernel",
        factory="vaebm_toolkit.builtin.distances:Kernel",
        options=KernelOptions,
        summary="kernel distance (KID) to the test split, unbiased; in each feature space",
        cite="Bińkowski et al., Demystifying MMD GANs, ICLR 2018, arXiv 1801.01401, section 4",
        bibtex="binkowski2018mmd",
    ),
    Component(
        kind="metric",
        name="precision-recall",
        factory="vaebm_toolkit.builtin.distances:PrecisionRecall",
        options=PrecisionOptions,
        summary="share of samples among the data and of data among the samples; in each feature space",
        cite="Kynkäänniemi et al., NeurIPS 2019, arXiv 1904.06991; Naeem et al., ICML 2020, arXiv 2002.09797",
        bibtex="kynkaanniemi2019precision, naeem2020density",
    ),
    Component(
        kind="metric",
        name="memorisation",
        factory="vaebm_toolkit.builtin.distances:Memorisation",
        options=MemorisationOptions,
        summary="whether samples are nearer to training examples than held-out data are",
        cite="Meehan et al., AISTATS 2020, arXiv 2004.05675",
        bibtex="meehan2020copying",
    ),
    Component(
        kind="metric",
        name="inception-score",
        factory="vaebm_toolkit.builtin.scores:Score",
        options=ScoreOptions,
        summary="how sure a classifier is of each sample, and how various its answers are",
        cite="Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016, arXiv 1606.03498",
        bibtex="salimans2016improved",
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
        name="likelihood",
        factory="vaebm_toolkit.builtin.product:likelihood",
        options=LikelihoodOptions,
        example={
            "examples": 10,
            "draws": 2,
            "samples": 50,
            "temperatures": 2,
            "chains": 4,
            "leapfrog": 1,
            "transitions": 1,
        },
        summary="bounds on log p(x) of the generator, on log Z, and on log h(x) of held-out examples",
        cite="Burda et al., ICLR 2016, arXiv 1509.00519, eq. 8; Grosse et al., 2015, arXiv 1511.02543",
        bibtex="burda2016iwae, neal2001ais, grosse2015sandwiching",
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
        kind="metric",
        name="chains",
        factory="vaebm_toolkit.builtin.chains:Chains",
        options=ChainsOptions,
        example={"count": 8, "length": 16, "frames": 2, "film": 2},
        summary="energy, gradient, acceptance along chains; R̂, effective samples, temperature of long ones",
        cite="Vehtari et al., Bayesian Analysis 2021, for R̂ and the effective sample size",
        bibtex="vehtari2021rhat",
    ),
    Component(
        kind="metric",
        name="ood",
        factory="vaebm_toolkit.builtin.ood:Ood",
        options=OodOptions,
        example={"examples": 20, "draws": 2},
        summary="AUROC of the model's log p − E, −E and ELBO between held-out data and noise or other images",
        cite="Nalisnick et al., ICLR 2019, arXiv 1810.09136; Du & Mordatch, NeurIPS 2019, arXiv 1903.08689",
        bibtex="nalisnick2019know, du2019igebm",
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
    Component(
        kind="features",
        name="inception",
        factory="vaebm_toolkit.builtin.inception:Inception",
        options=InceptionOptions,
        summary="the last pooling layer of Inception, as clean-fid computes it: FID, KID and IS of images",
        cite="Parmar et al., On Aliased Resizing, CVPR 2022, arXiv 2104.11222; Heusel et al., 2017",
        bibtex="parmar2022aliased, heusel2017ttur",
    ),
)
