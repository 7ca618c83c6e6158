from vaebm_toolkit import between, frozen, ge, opt


@frozen
class Options:
    capacity: int = opt(10_000, "chain ends kept", check=ge(1), unit="chains")
    reuse: float = opt(0.9, "probability that a chain goes on from a stored end", check=between(0, 1))
