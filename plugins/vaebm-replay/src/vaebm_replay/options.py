"""Options of the replay buffer. Torch-free."""

from __future__ import annotations

from typing import Literal

from vaebm_toolkit import between, frozen, ge, opt


@frozen
class ReplayOptions:
    """Defaults: VAEBM's persistent CIFAR-10 run; the whole state is kept."""

    capacity: int = opt(10_000, "chains kept", check=ge(1), unit="chains")
    reuse: float = opt(0.6, "largest probability of continuing a stored chain", check=between(0, 1))
    anneal_steps: int = opt(
        5000, "steps over which that probability rises linearly from 0", check=ge(0), unit="steps"
    )
    keep: Literal["all", "z"] = opt(
        "all", "groups kept: all continues chains exactly; z redraws ε_x, as the released code does"
    )
    mode: Literal["write-back", "fifo"] = opt(
        "write-back", "continued chains return to their slots, or every chain end is appended (released code)"
    )

    def probability(self, step: int) -> float:
        """p = min(reuse, reuse · step / anneal_steps)."""
        if self.anneal_steps == 0:
            return self.reuse
        return min(self.reuse, self.reuse * step / self.anneal_steps)
