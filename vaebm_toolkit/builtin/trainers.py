"""The built-in trainers' options. Torch-free."""

from __future__ import annotations

from typing import Literal

from vaebm_toolkit import Check, Component, between, frozen, ge, gt, opt, slot

MOMENT = Check("at least 0 and less than 1", lambda v: 0 <= v < 1)
"""Of the decays of Adam's moments."""


@frozen
class VaeOptions:
    """Defaults: NVAE's (Vahdat & Kautz, 2020, table 6)."""

    generator: str = slot("generator", "nvae")
    optimizer: Literal["adamax", "adam"] = opt("adamax", "optimiser")
    lr: float = opt(1e-2, "peak learning rate", check=gt(0))
    lr_min: float = opt(1e-4, "learning rate at the end of the cosine", check=ge(0))
    warmup_epochs: float = opt(5.0, "epochs of linear learning-rate warm-up", unit="epochs", check=ge(0))
    weight_decay: float = opt(3e-4, "L2 coefficient on every parameter", check=ge(0))
    kl_anneal: float = opt(
        0.3, "share of training over which the KL coefficient rises to 1", check=between(0, 1)
    )
    kl_start: float = opt(1e-4, "smallest KL coefficient", check=between(0, 1))
    kl_constant: float = opt(
        1e-4, "share of training before that rise begins, with the smallest coefficient", check=between(0, 1)
    )
    kl_balance: bool = opt(True, "balance the KL terms of the groups while the coefficient is below 1")
    spectral_bn: float = opt(0.1, "coefficient λ of the spectral and BatchNorm penalties", check=ge(0))
    spectral_bn_start: float | None = opt(
        None, "λ at the start, annealed geometrically with the KL coefficient; none: constant", check=gt(0)
    )
    grad_clip: float | None = opt(None, "largest norm of the gradient of all weights", check=gt(0))
    bn_passes: int = opt(0, "passes of BatchNorm re-calibration after training; 0: none", check=ge(0))
    bn_batch_size: int = opt(16, "samples per re-calibration pass", check=gt(0))
    bn_temperature: float = opt(1.0, "temperature of those samples", check=gt(0))


@frozen
class VaebmOptions:
    """Defaults: VAEBM on CIFAR-10 (Xiao et al., 2021, table 7)."""

    generator: str = slot("generator", "nvae")
    energy: str = slot("energy", "resnet")
    sampler: str = slot("sampler", "latent-ld")
    buffer: str = slot("buffer", "replay", optional=True)
    lr: float = opt(4e-5, "Adam's learning rate", check=gt(0))
    lr_min: float | None = opt(None, "cosine decay to this by the last step; none: constant", check=ge(0))
    beta1: float = opt(0.99, "Adam's decay of the first moment", check=MOMENT)
    beta2: float = opt(0.999, "Adam's decay of the second moment", check=MOMENT)
    weight_decay: float = opt(3e-5, "L2 coefficient on the energy's weights", check=ge(0))
    moment_clip: bool = opt(True, "clip each gradient element to ±(3·√v̂ + 0.1)")
    spectral: float = opt(0.2, "coefficient α_s of the spectral penalty", check=ge(0))
    energy_l2: float = opt(0.0, "coefficient of mean E(x⁺)² + E(x⁻)²", check=ge(0))
    negatives: Literal["sample", "mean"] = opt("sample", "x⁻ is the decoder's sample, or its mean")
    prior_jumps: int = opt(
        0,
        "Metropolis–Hastings moves to fresh ε ~ N(0, I) before each chain; accepted only in few dimensions",
        check=ge(0),
    )
    ema: float = opt(0.0, "decay of the moving average of the energy's weights; 0: none", check=between(0, 1))
    init_batches: int = opt(5, "training batches for the data-dependent initialisation", check=ge(0))


@frozen
class VaebmExactOptions:
    """Defaults: for data of a few dimensions, found on the 25 Gaussians."""

    generator: str = slot("generator", "mlp")
    energy: str = slot("energy", "mlp")
    sampler: str = slot("sampler", "latent-ld", "at test time; training runs no chain")
    draws: int = opt(4096, "samples of the generator that are weighted at each step", check=ge(2))
    lr: float = opt(2e-3, "Adam's learning rate", check=gt(0))
    lr_min: float | None = opt(0.0, "cosine decay to this by the last step; none: constant", check=ge(0))
    beta1: float = opt(0.9, "Adam's decay of the first moment", check=MOMENT)
    beta2: float = opt(0.999, "Adam's decay of the second moment", check=MOMENT)
    weight_decay: float = opt(0.0, "L2 coefficient on the energy's weights", check=ge(0))
    moment_clip: bool = opt(True, "clip each gradient element to ±(3·√v̂ + 0.1)")
    spectral: float = opt(0.0, "coefficient α_s of the spectral penalty", check=ge(0))
    energy_l2: float = opt(0.0, "coefficient of mean E(x)² over data, plus that over the draws", check=ge(0))
    ema: float = opt(
        0.99, "decay of the moving average of the energy's weights; 0: none", check=between(0, 1)
    )
    init_batches: int = opt(5, "training batches for the data-dependent initialisation", check=ge(0))


@frozen
class EbmOptions:
    """Defaults: IGEBM on CIFAR-10 (Du & Mordatch, 2019)."""

    dataset: str = slot("dataset", "digits", "its range is where noise starts")
    generator: str = slot("generator", "none", "its samples are starts", when=("start", "generator"))
    energy: str = slot("energy", "igebm")
    sampler: str = slot("sampler", "data-ld")
    buffer: str = slot("buffer", "replay", optional=True)
    start: Literal["noise", "generator"] = opt(
        "noise",
        "chains start from uniform noise over the data's range (normal where there is none), and no "
        "generator is used or trained; or from the generator's samples",
    )
    lr: float = opt(1e-4, "Adam's learning rate", check=gt(0))
    lr_min: float | None = opt(None, "cosine decay to this by the last step; none: constant", check=ge(0))
    beta1: float = opt(0.0, "Adam's decay of the first moment", check=MOMENT)
    beta2: float = opt(0.999, "Adam's decay of the second moment", check=MOMENT)
    weight_decay: float = opt(0.0, "L2 coefficient on the energy's weights", check=ge(0))
    moment_clip: bool = opt(True, "clip each gradient element to ±(3·√v̂ + 0.1)")
    spectral: float = opt(0.0, "coefficient α_s of the spectral penalty", check=ge(0))
    energy_l2: float = opt(1.0, "coefficient α of mean E(x⁺)² + E(x⁻)²", check=ge(0))
    ema: float = opt(0.0, "decay of the moving average of the energy's weights; 0: none", check=between(0, 1))
    init_batches: int = opt(5, "training batches for the data-dependent initialisation", check=ge(0))


COMPONENTS = (
    Component(
        kind="trainer",
        name="vae",
        factory="vaebm_toolkit.builtin.vae:VaeTrainer",
        options=VaeOptions,
        summary="maximises the ELBO with KL warm-up and balancing",
        cite="Vahdat & Kautz, NVAE, NeurIPS 2020, arXiv 2007.03898",
        bibtex="vahdat2020nvae",
    ),
    Component(
        kind="trainer",
        name="vaebm",
        factory="vaebm_toolkit.builtin.vaebm:VaebmTrainer",
        options=VaebmOptions,
        summary="trains the energy against chains on h(x, z), the generator fixed",
        cite="Xiao et al., VAEBM, ICLR 2021, arXiv 2010.00654, eq. 5",
        bibtex="xiao2021vaebm",
    ),
    Component(
        kind="trainer",
        name="vaebm-exact",
        factory="vaebm_toolkit.builtin.exact:ExactTrainer",
        options=VaebmExactOptions,
        summary="trains the energy against weighted samples of the generator, without chains: few dimensions",
        example={"draws": 64},
        cite="Xiao et al., VAEBM, ICLR 2021, arXiv 2010.00654, eq. 5, its expectation by importance weights",
        bibtex="xiao2021vaebm",
    ),
    Component(
        kind="trainer",
        name="ebm",
        factory="vaebm_toolkit.builtin.ebm:EbmTrainer",
        options=EbmOptions,
        summary="trains an energy of the data against chains on data, IGEBM's",
        cite="Du & Mordatch, NeurIPS 2019, arXiv 1903.08689, algorithm 1",
        bibtex="du2019igebm",
    ),
)
