"""A small energy and a small generator for data of any shape, to try other parts with."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_toolkit.core import (
    Autoencoder,
    Decoded,
    Elbo,
    EnergyFunction,
    State,
    WeightNormConv2d,
    randn,
    randn_like,
)
from vaebm_toolkit.testing.subject import Shape

WIDTH = 4


def as_image(x: Tensor) -> Tensor:
    """(B, D) as (B, 1, 1, D), so that one network serves vectors and images."""
    return x[:, None, None] if x.dim() == 2 else x


class TinyEnergy(EnergyFunction):
    """Two weight-normalised convolutions, a sum over space, a linear layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.conv1 = WeightNormConv2d(shape[0] if len(shape) == 3 else 1, WIDTH, 3, padding=1)
        self.conv2 = WeightNormConv2d(WIDTH, WIDTH, 3, padding=1)
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.conv2(F.silu(self.conv1(as_image(x)))))
        return self.out(h.sum((2, 3))).squeeze(1)

    def initialise(self, x: Tensor) -> None:
        self.conv1.initialise(as_image(x))


class TinyGenerator(Autoencoder):
    """z0 a vector, z1 | z0 a map as large as the data, x | z0, z1; Gaussian, with BatchNorm on the way."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(shape)
        channels, *self.size = shape if len(shape) == 3 else (1, 1, *shape)
        self.groups = {"z0": (2,), "z1": (1, *self.size), "x": self.shape}
        self.encoder = nn.Conv2d(channels, WIDTH, 3, padding=1)
        self.posterior0, self.posterior1 = nn.Linear(WIDTH, 4), nn.Conv2d(WIDTH, 2, 1)
        self.top, self.prior1 = nn.Linear(2, WIDTH), nn.Conv2d(WIDTH, 2, 1)
        self.decoder, self.norm = nn.Conv2d(WIDTH + 1, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH)
        self.out = nn.Conv2d(WIDTH, 2 * channels, 1)

    def prior(self, z0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The feature of z0, and μ, σ of z1 given z0."""
        h = F.silu(self.top(z0))[:, :, None, None].expand(-1, -1, *self.size)
        return h, *scaled(self.prior1(h))

    def likelihood(self, h: Tensor, z1: Tensor) -> tuple[Tensor, Tensor]:
        """μ, σ of x, (B, *shape) each."""
        mean, std = scaled(self.out(F.silu(self.norm(self.decoder(torch.cat([h, z1], 1))))))
        return mean.reshape(-1, *self.shape), 0.5 * std.reshape(-1, *self.shape)

    def values(self, eps: State) -> State:
        h, m1, s1 = self.prior(eps["z0"])
        z1 = m1 + s1 * eps["z1"]
        mean, std = self.likelihood(h, z1)
        return {"z0": eps["z0"], "z1": z1, "x": mean + std * eps["x"]}

    def decode(self, eps: State) -> Decoded:
        h, m1, s1 = self.prior(eps["z0"])
        mean, std = self.likelihood(h, m1 + s1 * eps["z1"])
        return Decoded(mean + std * eps["x"], log_sum(s1) + log_sum(std))

    def noise(self, values: State) -> tuple[State, Tensor]:
        h, m1, s1 = self.prior(values["z0"])
        mean, std = self.likelihood(h, values["z1"])
        eps = {"z0": values["z0"], "z1": (values["z1"] - m1) / s1, "x": (values["x"] - mean) / std}
        return eps, log_sum(s1) + log_sum(std)

    def posterior(self, x: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        h = F.silu(self.encoder(as_image(x)))
        return scaled(self.posterior0(h.mean((2, 3)))), scaled(self.posterior1(h))

    def elbo(self, x: Tensor, rng: torch.Generator) -> Elbo:
        (m0, s0), (m1, s1) = self.posterior(x)
        z0, z1 = m0 + s0 * randn_like(m0, rng), m1 + s1 * randn_like(m1, rng)
        h, p1, t1 = self.prior(z0)
        kl0 = 0.5 * (m0.square() + s0.square() - 1) - s0.log()
        kl1 = (t1 / s1).log() + (s1.square() + (m1 - p1).square()) / (2 * t1.square()) - 0.5
        return Elbo(normal(x, *self.likelihood(h, z1)), torch.stack([kl0.sum(1), kl1.flatten(1).sum(1)], 1))

    def encode(self, x: Tensor, rng: torch.Generator) -> State:
        (m0, s0), (m1, s1) = self.posterior(x)
        z0, z1 = m0 + s0 * randn_like(m0, rng), m1 + s1 * randn_like(m1, rng)
        return self.noise({"z0": z0, "z1": z1, "x": x})[0]

    def log_weight(self, x: Tensor, rng: torch.Generator) -> Tensor:
        (m0, s0), (m1, s1) = self.posterior(x)
        z0, z1 = m0 + s0 * randn_like(m0, rng), m1 + s1 * randn_like(m1, rng)
        h, p1, t1 = self.prior(z0)
        prior = normal(z0, torch.zeros_like(z0), torch.ones_like(z0)) + normal(z1, p1, t1)
        return normal(x, *self.likelihood(h, z1)) + prior - normal(z0, m0, s0) - normal(z1, m1, s1)

    @torch.no_grad()
    def recalibrate(
        self, passes: int, batch_size: int, rng: torch.Generator, temperature: float = 1.0
    ) -> None:
        before = self.training
        self.train()
        for _ in range(passes):
            self.decode(
                {
                    k: temperature * randn((batch_size, *s), rng, like=self.out.weight)
                    for k, s in self.groups.items()
                }
            )
        self.train(before)


def scaled(raw: Tensor) -> tuple[Tensor, Tensor]:
    """μ and σ > 0.05 from a network's output, halves of dim 1."""
    mean, log_std = raw.chunk(2, 1)
    return mean, F.softplus(log_std) + 0.05


def log_sum(std: Tensor) -> Tensor:
    return std.log().flatten(1).sum(1)


def normal(v: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log N(v; mean, std²), (B,)."""
    log_prob = -0.5 * ((v - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
    return log_prob.flatten(1).sum(1)
