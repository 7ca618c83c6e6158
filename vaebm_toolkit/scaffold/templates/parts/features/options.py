from vaebm_toolkit import frozen, ge, opt


@frozen
class Options:
    dimension: int = opt(16, "numbers per example", check=ge(1))
    seed: int = opt(0, "seed of the projection", check=ge(0))
