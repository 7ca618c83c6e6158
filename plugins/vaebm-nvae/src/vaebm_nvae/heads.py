"""Output distributions: what the network's last feature map says about the image."""

from __future__ import annotations

import math

from torch import Tensor

from vaebm_nvae.distributions import Normal, soft_clamp

LOG_SIGMA_FLOOR = -2.0


class GaussianHead:
    """One Gaussian per pixel and colour, in the space y = 2x − 1 ∈ [−1, 1].

    Densities are those of y, in nats, without dequantisation: adding D log 2 gives the
    density of x ∈ [0, 1]. Noise is mapped to x itself, without a clamp.
    """

    @staticmethod
    def channels(colours: int) -> int:
        """Network outputs per pixel: the means, then the log scales."""
        return 2 * colours

    def __init__(self, raw: Tensor) -> None:
        self.mu, self.log_scale = soft_clamp(raw).chunk(2, dim=1)
        self.normal = Normal(self.mu, self.log_scale)

    def sample(self, eps: Tensor) -> Tensor:
        """x = (μ + σ ε) / 2 + ½, (B, C, H, W)"""
        return self.normal.sample(eps) / 2 + 0.5

    def noise(self, x: Tensor) -> Tensor:
        """The ε with sample(ε) = x."""
        return self.normal.noise(2 * x - 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(y | z), (B,) nats."""
        return self.normal.log_prob(2 * x - 1)

    def log_det(self) -> Tensor:
        """log |dx / dε| = Σ log(σ / 2), (B,)."""
        return self.normal.log_det() - math.log(2) * self.mu[0].numel()

    def official(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """x clamped to [0, 1] and log p(y | z) there, (B,), as the released VAEBM chain has it.

        It draws with σ, but evaluates the density with log scales floored at −2
        (σ ≥ 0.145), and at the clamped image.
        """
        x = self.sample(eps).clamp(0, 1)
        floored = Normal(self.mu, self.log_scale.clamp(min=LOG_SIGMA_FLOOR))
        return x, floored.log_prob(2 * x - 1)
