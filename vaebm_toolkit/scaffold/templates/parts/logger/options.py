from vaebm_toolkit import frozen, gt, opt


@frozen
class Options:
    watch: str = opt("energy_gap", "the figure that is watched")
    limit: float | None = opt(None, "stop the stage where the figure's size exceeds this", check=gt(0))
