from vaebm_toolkit import frozen, ge, opt


@frozen
class Options:
    width: int = opt(64, "channels of each convolution, or units of each layer", check=ge(1), unit="units")
    depth: int = opt(3, "convolutions, or hidden layers", check=ge(1), unit="layers")
