"""Fully connected generator and energy, for vectors and small images."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_toolkit.builtin.networks import EnergyOptions, GeneratorOptions
from vaebm_toolkit.core import Autoencoder, Decoded, Elbo, EnergyFunction, State, randn_like

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class MLPAutoencoder(Autoencoder):
    """p(z) = N(0, I), p(x|z) = N(μ_x(z), σ_x(z)²), q(z|x) = N(μ_q(x), σ_q(x)²), all diagonal.

    T(ε): z = ε_z, x = μ_x(z) + σ_x(z) ε_x, so log |dT/dε| = Σ log σ_x. Densities of x are in
    data units: nats per vector, or per image in [0, 1].
    """

    def __init__(self, shape: tuple[int, ...], options: GeneratorOptions) -> None:
        super().__init__()
        size = math.prod(shape)
        latent = min(size, 20) if options.latent is None else options.latent
        self.shape, self.min_sigma = tuple(shape), options.min_sigma
        self.groups = {"z0": (latent,), "x": self.shape}
        self.encoder = perceptron(size, 2 * latent, options.width, options.depth)
        self.decoder = perceptron(latent, 2 * size, options.width, options.depth)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """μ_q, σ_q of q(z|x): (B, latent) each."""
        mean, raw = self.encoder(centred(x)).chunk(2, dim=1)
        return mean, F.softplus(raw) + 1e-4

    def likelihood(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """μ_x, σ_x of p(x|z): (B, *shape) each, in data units."""
        mean, raw = self.decoder(z).chunk(2, dim=1)
        if len(self.shape) == 3:
            mean = 0.5 + 0.5 * mean
        sigma = F.softplus(raw) + self.min_sigma
        return mean.unflatten(1, self.shape), sigma.unflatten(1, self.shape)

    def decode(self, eps: State) -> Decoded:
        mean, sigma = self.likelihood(eps["z0"])
        return Decoded(mean + sigma * eps["x"], sigma.log().flatten(1).sum(1))

    def values(self, eps: State) -> State:
        return {"z0": eps["z0"], "x": self.decode(eps).x}

    def noise(self, values: State) -> tuple[State, Tensor]:
        mean, sigma = self.likelihood(values["z0"])
        return {"z0": values["z0"], "x": (values["x"] - mean) / sigma}, sigma.log().flatten(1).sum(1)

    def elbo(self, x: Tensor, rng: torch.Generator) -> Elbo:
        mean, sigma = self.posterior(x)
        z = mean + sigma * randn_like(mean, rng)
        # KL(q(z|x) ‖ N(0, I)) in closed form
        kl = 0.5 * (mean.square() + sigma.square() - 1) - sigma.log()
        return Elbo(gaussian_log_prob(x, *self.likelihood(z)), kl.sum(1, keepdim=True))

    def encode(self, x: Tensor, rng: torch.Generator) -> State:
        mean, sigma = self.posterior(x)
        return self.noise({"z0": mean + sigma * randn_like(mean, rng), "x": x})[0]

    def log_weight(self, x: Tensor, rng: torch.Generator) -> Tensor:
        mean, sigma = self.posterior(x)
        noise = randn_like(mean, rng)
        z = mean + sigma * noise
        log_prior_ratio = (0.5 * (noise.square() - z.square()) + sigma.log()).sum(1)  # log p(z) − log q(z|x)
        return gaussian_log_prob(x, *self.likelihood(z)) + log_prior_ratio


class MLPEnergy(EnergyFunction):
    """E(x): hidden layers with swish, then one linear output."""

    def __init__(self, shape: tuple[int, ...], options: EnergyOptions) -> None:
        super().__init__()
        self.network = perceptron(math.prod(shape), 1, options.width, options.depth)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(centred(x)).squeeze(1)


def perceptron(inputs: int, outputs: int, width: int, depth: int) -> nn.Sequential:
    """`depth` hidden layers of `width` units with swish, and a linear output.

    Hidden weights start with variance 1.7² / inputs, which keeps the size of activations through
    swish layers; with torch's default the signal fades and 25-Gaussians is learned less well.
    """
    layers: list[nn.Module] = []
    for a, b in pairwise([inputs, *[width] * depth]):
        layers += [nn.Linear(a, b), nn.SiLU()]
        nn.init.normal_(layers[-2].weight, std=1.7 / a**0.5)
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def centred(x: Tensor) -> Tensor:
    """(B, D): images in [0, 1] as [−1, 1], vectors as they are."""
    return 2 * x.flatten(1) - 1 if x.dim() == 4 else x.flatten(1)


def gaussian_log_prob(x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """log N(x; mean, σ²) summed over all but the first axis, (B,) nats."""
    log_prob = -0.5 * ((x - mean) / sigma).square() - sigma.log() - HALF_LOG_2PI
    return log_prob.flatten(1).sum(1)


def build_generator(options: GeneratorOptions, shape: tuple[int, ...]) -> MLPAutoencoder:
    """The autoencoder for data of `shape`: (D,), or (C, H, W) in [0, 1]."""
    return MLPAutoencoder(shape, options)


def build_energy(options: EnergyOptions, shape: tuple[int, ...]) -> MLPEnergy:
    """The energy for data of `shape`: (D,), or (C, H, W) in [0, 1]."""
    return MLPEnergy(shape, options)
