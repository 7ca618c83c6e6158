from vaebm_toolkit import frozen, ge, gt, opt


@frozen
class Options:
    latent: int = opt(8, "dimension of z", check=ge(1))
    width: int = opt(128, "hidden units of encoder and decoder", check=ge(1), unit="units")
    min_sigma: float = opt(0.05, "smallest σ of p(x|z), in data units", check=gt(0))
