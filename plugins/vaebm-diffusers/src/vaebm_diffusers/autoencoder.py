"""AutoencoderKL as a generator: x = T(ε) from Gaussian latents and a Gaussian decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from vaebm_diffusers.options import AutoencoderOptions
from vaebm_toolkit.core import Autoencoder, Decoded, Elbo, State, randn_like

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class KLAutoencoder(Autoencoder):
    """p(z) = N(m, s²) per channel, p(x|z) = N(μ(z), σ²) on images in [0, 1], q(z|x) = N(μ_q(x), σ_q(x)²).

    T(ε): z = m + s ε_z, x = μ(z) + σ ε_x, so log |d(z, x)/dε| = Σ log s + D log σ, a constant.
    z are the latents as the network has them, m and s what its configuration calls shift and 1 / scale:
    0 and 1 for a new one, which its ELBO then makes true. For a trained one N(m, s²) is an approximation.
    """

    density = "density of x, for images in [0, 1]"

    def __init__(self, network: AutoencoderKL, shape: tuple[int, ...], options: AutoencoderOptions) -> None:
        super().__init__()
        self.network, self.calibrate = network, options.calibrate
        channels, height, width = shape
        latent, factor = network.config.latent_channels, halving(network)
        self.groups = {"z0": (latent, height // factor, width // factor), "x": (channels, height, width)}
        mean, std = scale(network)
        self.register_buffer("latent_mean", mean)  # (C, 1, 1)
        self.register_buffer("latent_std", std)
        log_sigma = torch.tensor(math.log(options.sigma))
        if options.learn_sigma:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(ε_z|x), (B, C, h, w) each, with ε_z = (z − m) / s."""
        q = self.network.encode(2 * x - 1).latent_dist
        return (q.mean - self.latent_mean) / self.latent_std, q.std / self.latent_std

    def mu(self, eps: Tensor) -> Tensor:
        """μ(z) at z = m + s ε_z, (B, *data shape) in [0, 1]."""
        return (self.network.decode(self.latent_mean + self.latent_std * eps).sample + 1) / 2

    def log_det(self, x: Tensor) -> Tensor:
        """Σ log s + D log σ, (B,)."""
        _, height, width = self.groups["z0"]
        total = height * width * self.latent_std.log().sum() + x[0].numel() * self.log_sigma
        return total.expand(len(x))

    def decode(self, eps: State) -> Decoded:
        x = self.mu(eps["z0"]) + self.log_sigma.exp() * eps["x"]
        return Decoded(x, self.log_det(x))

    def values(self, eps: State) -> State:
        return {"z0": self.latent_mean + self.latent_std * eps["z0"], "x": self.decode(eps).x}

    def noise(self, values: State) -> tuple[State, Tensor]:
        z = (values["z0"] - self.latent_mean) / self.latent_std
        return {"z0": z, "x": self.residual(values["x"], z)}, self.log_det(values["x"])

    def residual(self, x: Tensor, eps: Tensor) -> Tensor:
        """ε_x = (x − μ(z)) / σ, (B, *data shape)."""
        return (x - self.mu(eps)) / self.log_sigma.exp()

    def log_likelihood(self, x: Tensor, eps: Tensor) -> Tensor:
        """log N(x; μ(z), σ²), (B,) nats."""
        return (-0.5 * self.residual(x, eps).square() - self.log_sigma - HALF_LOG_2PI).flatten(1).sum(1)

    def elbo(self, x: Tensor, rng: torch.Generator) -> Elbo:
        mean, std = self.posterior(x)
        log_px = self.log_likelihood(x, mean + std * randn_like(mean, rng))
        return Elbo(log_px, kl(mean, std).flatten(1).sum(1, keepdim=True))

    def encode(self, x: Tensor, rng: torch.Generator) -> State:
        mean, std = self.posterior(x)
        eps = mean + std * randn_like(mean, rng)
        return {"z0": eps, "x": self.residual(x, eps)}

    def log_weight(self, x: Tensor, rng: torch.Generator) -> Tensor:
        mean, std = self.posterior(x)
        noise = randn_like(mean, rng)
        eps = mean + std * noise
        # log p(z) − log q(z|x), in which s cancels
        ratio = 0.5 * (noise.square() - eps.square()) + std.log()
        return self.log_likelihood(x, eps) + ratio.flatten(1).sum(1)

    @torch.no_grad()
    def kl_units(self, x: Tensor, rng: torch.Generator) -> Mapping[str, Tensor]:
        return {"z0": kl(*self.posterior(x)).sum((2, 3)).mean(0)}

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """With `calibrate`: m and s² of each channel are mean and variance of q(z|x) over x and space,
        σ² is the mean square of x − μ(z) at the posterior's mean."""
        if not self.calibrate:
            return
        q = self.network.encode(2 * x - 1).latent_dist
        mean = q.mean.mean((0, 2, 3))
        variance = q.mean.var((0, 2, 3), unbiased=False) + q.var.mean((0, 2, 3))
        self.latent_mean.copy_(mean[:, None, None])
        self.latent_std.copy_(variance.sqrt()[:, None, None])
        self.log_sigma.copy_(0.5 * (x - self.mu(self.posterior(x)[0])).square().mean().log())


def kl(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std²) ‖ N(0, 1)), element by element, nats."""
    return 0.5 * (mean.square() + std.square() - 1) - std.log()


def halving(network: AutoencoderKL) -> int:
    """The factor by which the latents are smaller than the image."""
    return 2 ** (len(network.config.block_out_channels) - 1)


def scale(network: AutoencoderKL) -> tuple[Tensor, Tensor]:
    """m and s per channel, (C, 1, 1), with which (z − m) / s is what diffusion models are trained on.

    Configurations have one factor and shift for all channels, or a mean and spread of each besides.
    """
    c = network.config
    ones = torch.ones(c.latent_channels, 1, 1)
    if c.get("latents_mean") is not None and c.get("latents_std") is not None:
        mean, std = (torch.tensor(c[k]).view(-1, 1, 1) for k in ("latents_mean", "latents_std"))
        return ones * mean, ones * std / c.scaling_factor
    return ones * (c.get("shift_factor") or 0.0), ones / c.scaling_factor
