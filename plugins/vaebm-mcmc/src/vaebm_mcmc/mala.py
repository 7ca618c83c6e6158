"""The Metropolis-adjusted Langevin algorithm."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebm_mcmc.metropolis import Evaluate, Metropolis, Point, along
from vaebm_toolkit.core import randn_like


class LatentMala(Metropolis):
    """v′ = v + (η/2) ∇log π(v) + √η ω, ω ~ N(0, I), accepted or not (Roberts & Tweedie, 1996, section 1.4).

    The proposal is the Langevin step of VAEBM, eq. 7.
    """

    def propose(
        self, here: Point, step_size: Tensor, evaluate: Evaluate, rng: torch.Generator
    ) -> tuple[Point, Tensor]:
        noise = {k: randn_like(v, rng) for k, v in here.position.items()}
        root, force = step_size.sqrt(), self.force(here)
        there = evaluate(
            {
                k: v + along(step_size, v) / 2 * force[k] + along(root, v) * noise[k]
                for k, v in here.position.items()
            }
        )
        # the way back needs the noise ω′ = −(ω + d), d = (√η/2)(∇log π(v) + ∇log π(v′)), and
        # log q(v|v′) − log q(v′|v) = ½‖ω‖² − ½‖ω + d‖² = −½ Σ d (2ω + d): small η cancel nothing
        back = self.force(there)
        log_q = torch.zeros_like(here.log_prob)
        for k, w in noise.items():
            d = along(root, w) / 2 * (force[k] + back[k])
            log_q = log_q - 0.5 * (d * (2 * w + d)).flatten(1).sum(1)
        return there, there.log_prob - here.log_prob + log_q
