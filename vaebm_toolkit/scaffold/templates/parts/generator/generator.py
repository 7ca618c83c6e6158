"""A Gaussian VAE (Kingma & Welling, 2014): an Autoencoder, so that the trainer `vae` can train it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_toolkit.core import Autoencoder, Decoded, Elbo, State, randn_like

from . import Options


class GaussianVae(Autoencoder):
    """p(z) = N(0, I), p(x|z) = N(μ(z), σ²), q(z|x) = N(m(x), s(x)²), all diagonal; σ is learned.

    T(ε): z = ε_z, x = μ(z) + σ ε_x, so log |dT/dε| = Σ log σ.
    """

    def __init__(self, options: Options, shape: tuple[int, ...]) -> None:
        super().__init__()
        size, width, self.min_sigma = math.prod(shape), options.width, options.min_sigma
        self.groups = {"z0": (options.latent,), "x": tuple(shape)}
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(size, width), nn.SiLU(), nn.Linear(width, 2 * options.latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(options.latent, width), nn.SiLU(), nn.Linear(width, size), nn.Unflatten(1, shape)
        )
        self.raw_sigma = nn.Parameter(torch.zeros(shape))

    def likelihood(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """μ(z) and σ of p(x|z), (B, *shape) each."""
        mean = self.decoder(z)
        return mean, (F.softplus(self.raw_sigma) + self.min_sigma).expand_as(mean)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """m(x) and s(x) of q(z|x), (B, latent) each."""
        mean, raw = self.encoder(x).chunk(2, dim=1)
        return mean, F.softplus(raw) + 1e-4

    def decode(self, eps: State) -> Decoded:
        mean, sigma = self.likelihood(eps["z0"])
        return Decoded(mean + sigma * eps["x"], sigma.log().flatten(1).sum(1))

    def elbo(self, x: Tensor, rng: torch.Generator) -> Elbo:
        mean, sigma = self.posterior(x)
        z = mean + sigma * randn_like(mean, rng)
        # KL(q(z|x) ‖ N(0, I)) in closed form, (B, latent)
        kl = 0.5 * (mean.square() + sigma.square() - 1) - sigma.log()
        return Elbo(log_normal(x, *self.likelihood(z)), kl.sum(1, keepdim=True))

    def encode(self, x: Tensor, rng: torch.Generator) -> State:
        mean, sigma = self.posterior(x)
        return self.noise({"z0": mean + sigma * randn_like(mean, rng), "x": x})[0]

    def log_weight(self, x: Tensor, rng: torch.Generator) -> Tensor:
        mean, sigma = self.posterior(x)
        z = mean + sigma * randn_like(mean, rng)
        log_prior = log_normal(z, torch.zeros_like(z), torch.ones_like(z))
        return log_normal(x, *self.likelihood(z)) + log_prior - log_normal(z, mean, sigma)

    def values(self, eps: State) -> State:
        return {"z0": eps["z0"], "x": self.decode(eps).x}

    def noise(self, values: State) -> tuple[State, Tensor]:
        mean, sigma = self.likelihood(values["z0"])
        return {"z0": values["z0"], "x": (values["x"] - mean) / sigma}, sigma.log().flatten(1).sum(1)


def log_normal(x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """log N(x; mean, σ²) over all but the first axis, (B,) nats."""
    log_prob = -0.5 * ((x - mean) / sigma).square() - sigma.log() - 0.5 * math.log(2 * math.pi)
    return log_prob.flatten(1).sum(1)


def build(options: Options, shape: tuple[int, ...]) -> GaussianVae:
    return GaussianVae(options, shape)
