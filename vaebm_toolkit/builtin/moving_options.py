"""Options of the trainers that also move the generator. Torch-free."""

from __future__ import annotations

from typing import Literal

from vaebm_toolkit import Component, between, frozen, ge, gt, opt, slot
from vaebm_toolkit.builtin.trainers import MOMENT, VaebmOptions


@frozen
class WganOptions:
    """Defaults: the WGAN of VAEBM's ablation on CIFAR-10, where the paper says how it was trained."""

    generator: str = slot("generator", "nvae")
    energy: str = slot("energy", "resnet", "the discriminator; low = real")
    lr: float = opt(5e-5, "the energy's learning rate", check=gt(0))
    lr_min: float | None = opt(None, "cosine decay to this by the last step; none: constant", check=ge(0))
    generator_lr: float = opt(5e-6, "the generator's learning rate", check=gt(0))
    generator_lr_min: float = opt(0.0, "the same at the end of its cosine", check=ge(0))
    critic_steps: int = opt(
        1, "updates of the energy before each of the generator (the paper gives no number)", check=ge(1)
    )
    beta1: float = opt(
        0.5, "Adam's decay of the first moment, both networks (the paper gives none; DCGAN's)",
        check=MOMENT,
    )  # fmt: skip
    beta2: float = opt(0.999, "Adam's decay of the second moment, both networks", check=MOMENT)
    weight_decay: float = opt(0.0, "L2 coefficient on the energy's weights", check=ge(0))
    spectral: float = opt(0.0, "coefficient α_s of the spectral penalty", check=ge(0))
    energy_l2: float = opt(0.0, "coefficient of mean E(x⁺)² + E(x⁻)²", check=ge(0))
    negatives: Literal["sample", "mean"] = opt(
        "sample", "x⁻ is the decoder's sample, or its mean, which leaves its noise untrained"
    )
    ema: float = opt(
        0.0, "decay of the moving average of the generator's weights; 0: none", check=between(0, 1)
    )
    init_batches: int = opt(5, "training batches for the data-dependent initialisation", check=ge(0))


@frozen
class VaebmKlOptions(VaebmOptions):
    """Defaults: VAEBM with D_KL(p_θ ‖ h) in the paper's ablation on CIFAR-10, where it gives them.

    Two networks that learn against each other swing with much momentum: a two-dimensional generator
    started 1.37 away from its data (sliced Wasserstein distance) is 0.41 away after 400 steps with
    0.99 for both networks, 0.16 with 0.5 for the decoder, 0.03 with 0.5 for both.
    """

    buffer: str = slot("buffer", "none", "none: kept chains belong to an older decoder", optional=True)
    lr: float = opt(5e-5, "the energy's learning rate", check=gt(0))
    generator_lr: float = opt(5e-6, "the decoder's learning rate", check=gt(0))
    generator_lr_min: float = opt(0.0, "the same at the end of its cosine", check=ge(0))
    generator_beta1: float = opt(
        0.5, "Adam's decay of the first moment, the decoder's (the paper gives none)", check=MOMENT
    )
    ema: float = opt(
        0.0, "decay of the moving averages of the weights of both networks; 0: none", check=between(0, 1)
    )


COMPONENTS = (
    Component(
        kind="trainer",
        name="vaebm-kl",
        factory="vaebm_toolkit.builtin.vaebm_kl:VaebmKlTrainer",
        options=VaebmKlOptions,
        summary="trains energy and decoder in turn, the decoder towards h(x, z) by D_KL",
        cite="Xiao et al., VAEBM, ICLR 2021, arXiv 2010.00654, appendix",
        bibtex="xiao2021vaebm",
    ),
    Component(
        kind="trainer",
        name="wgan",
        factory="vaebm_toolkit.builtin.wgan:WganTrainer",
        options=WganOptions,
        summary="Wasserstein GAN from the pre-trained generator, the energy as its discriminator",
        cite="Arjovsky et al., ICML 2017, arXiv 1701.07875; Xiao et al., VAEBM, ICLR 2021, appendix",
        bibtex="xiao2021vaebm, arjovsky2017wgan",
    ),
)
