from vaebm_toolkit import between, frozen, ge, gt, opt, slot


@frozen
class Options:
    generator: str = slot("generator", "nvae")
    energy: str = slot("energy", "resnet")
    sampler: str = slot("sampler", "latent-ld")
    buffer: str = slot("buffer", "replay", optional=True)
    lr: float = opt(2e-4, "Adam's learning rate", check=gt(0))
    energy_l2: float = opt(0.01, "coefficient α of mean E(x⁺)² + E(x⁻)²", check=ge(0))
    ema: float = opt(0.99, "decay of the moving average of the energy's weights", check=between(0, 1))
