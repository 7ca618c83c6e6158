"""Output distributions: what the network's last feature map says about the image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebm_nvae.distributions import Normal, soft_clamp
from vaebm_toolkit.core import rand

Bounds = tuple[float, float] | None


class Head(ABC):
    """p(x | z) for images x ∈ [0, 1], (B, C, H, W), and how noise ε_x becomes an image."""

    @abstractmethod
    def sample(self, eps: Tensor) -> Tensor:
        """An image from standard normal noise of the head's shape."""

    @abstractmethod
    def mean(self) -> Tensor:
        """E[x | z]"""

    @abstractmethod
    def noise(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """An ε with sample(ε) = x, distributed as ε given x."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x | z), (B,) nats."""

    def log_det(self) -> Tensor | None:
        """log |dx / dε|, (B,); None where x is discrete."""
        return None


class GaussianHead(Head):
    """One Gaussian per pixel and colour, in the space y = 2x − 1 ∈ [−1, 1].

    Densities are those of y, in nats, without dequantisation: adding D log 2 gives the
    density of x ∈ [0, 1]. Noise is mapped to x itself, without a clamp.
    `floor`: of the log scale, in `official` alone.
    """

    def __init__(self, raw: Tensor, temperature: float = 1.0, floor: float | None = -2.0) -> None:
        self.mu, self.log_scale = soft_clamp(raw).chunk(2, dim=1)
        self.normal = Normal(self.mu, self.log_scale, temperature)
        self.temperature, self.floor = temperature, floor

    def sample(self, eps: Tensor) -> Tensor:
        """x = (μ + σ ε) / 2 + ½, (B, C, H, W)"""
        return self.normal.sample(eps) / 2 + 0.5

    def mean(self) -> Tensor:
        return self.mu / 2 + 0.5

    def noise(self, x: Tensor, rng: torch.Generator) -> Tensor:
        return self.normal.noise(2 * x - 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(y | z), (B,) nats."""
        return self.normal.log_prob(2 * x - 1)

    def log_det(self) -> Tensor:
        """Σ log(σ / 2), (B,)."""
        return self.normal.log_det() - math.log(2) * self.mu[0].numel()

    def official(self, eps: Tensor, clamp: Bounds) -> tuple[Tensor, Tensor]:
        """x within `clamp` and log p(y | z) there, (B,), as the released VAEBM chain has it.

        It draws with σ, but evaluates the density with log scales floored at −2
        (σ ≥ 0.145), and at the image clamped to [0, 1].
        """
        x = self.sample(eps)
        if clamp is not None:
            x = x.clamp(*clamp)
        log_scale = self.log_scale if self.floor is None else self.log_scale.clamp(min=self.floor)
        return x, Normal(self.mu, log_scale, self.temperature).log_prob(2 * x - 1)


class BernoulliHead(Head):
    """Independent binary values with the network's outputs as logits; x ∈ {0, 1}."""

    def __init__(self, raw: Tensor, temperature: float = 1.0) -> None:
        self.logits, self.temperature = raw, temperature

    def probability(self) -> Tensor:
        """P(x = 1) at the head's temperature."""
        return torch.sigmoid(self.logits / self.temperature)

    def sample(self, eps: Tensor) -> Tensor:
        """x = 1 where Φ(ε) < p: a step in ε, so nothing follows its gradient."""
        return (torch.special.ndtr(eps) < self.probability()).to(self.logits)

    def mean(self) -> Tensor:
        return self.probability()

    def noise(self, x: Tensor, rng: torch.Generator) -> Tensor:
        p = self.probability()
        u = rand(p.shape, rng, like=p)
        u = torch.where(x > 0.5, u * p, p + u * (1 - p))
        return torch.special.ndtri(u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps / 2))

    def log_prob(self, x: Tensor) -> Tensor:
        """Σ x l − log(1 + eˡ), (B,), for logits l; x ∈ {0, 1}."""
        return (x * self.logits - F.softplus(self.logits)).flatten(1).sum(1)
