"""The Gaussian of NVAE's latents and image head, with softly bounded parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def soft_clamp(raw: Tensor) -> Tensor:
    """5 tanh(raw / 5): the identity near 0, bounded by ±5 (NVAE, appendix A)."""
    return torch.tanh(raw / 5) * 5


class Normal:
    """N(μ, σ²) with σ = (e^s + 0.01) · t for a bounded log scale s and a temperature t.

    The 0.01 keeps the KL finite; hence s = 0, the "standard normal" prior of the first
    group, has σ = 1.01. `mu` and `log_scale` are already soft-clamped; same shapes.
    """

    def __init__(self, mu: Tensor, log_scale: Tensor, temperature: float = 1.0) -> None:
        self.mu = mu
        self.sigma = torch.exp(log_scale) + 0.01
        if temperature != 1.0:
            self.sigma = self.sigma * temperature

    @classmethod
    def standard(cls, like: Tensor, temperature: float = 1.0) -> Normal:
        """N(0, t²) for every latent of `like`, (B, 2L, H, W)."""
        zero = torch.zeros_like(like.chunk(2, dim=1)[0])
        normal = cls(zero, zero, temperature)
        normal.sigma = zero + temperature
        return normal

    @classmethod
    def from_raw(cls, raw: Tensor, temperature: float = 1.0) -> Normal:
        """From a network's output (B, 2L, H, W): L means, then L log scales."""
        mu, log_scale = soft_clamp(raw).chunk(2, dim=1)
        return cls(mu, log_scale, temperature)

    def sample(self, eps: Tensor) -> Tensor:
        """μ + σ ε"""
        return torch.addcmul(self.mu, self.sigma, eps)

    def noise(self, value: Tensor) -> Tensor:
        """The ε with μ + σ ε = value."""
        return (value - self.mu) / self.sigma

    def log_density(self, value: Tensor) -> Tensor:
        """log N(value; μ, σ²) of each element, nats."""
        return -0.5 * self.noise(value).square() - torch.log(self.sigma) - HALF_LOG_TAU

    def log_prob(self, value: Tensor) -> Tensor:
        """(B,) nats, summed over all other dimensions."""
        return self.log_density(value).flatten(1).sum(1)

    def log_prob_at(self, eps: Tensor) -> Tensor:
        """log_prob of sample(eps), (B,)."""
        return -(0.5 * eps.square() + HALF_LOG_TAU).flatten(1).sum(1) - self.log_det()

    def log_det(self) -> Tensor:
        """Σ log σ, (B,): log |d value / dε|."""
        return torch.log(self.sigma).flatten(1).sum(1)

    def kl(self, prior: Normal) -> Tensor:
        """KL(self ‖ prior) in closed form, nats of each element."""
        ratio = self.sigma / prior.sigma
        shift = (self.mu - prior.mu) / prior.sigma
        return 0.5 * (shift.square() + ratio.square() - 1) - torch.log(ratio)
