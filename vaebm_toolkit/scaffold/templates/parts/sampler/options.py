from vaebm_toolkit import frozen, ge, gt, opt


@frozen
class Options:
    steps: int = opt(10, "steps per chain", check=ge(0))
    scale: float = opt(2.38, "standard deviation of a proposal, times √D", check=gt(0))
