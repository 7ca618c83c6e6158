"""VAEBM in one plain-torch file, without the toolkit: what everything else is about.

A VAE p(x|z) p(z) on the 25 Gaussians, then an energy E with h(x, z) ∝ p(x, z) exp(−E(x)),
its negatives from Langevin dynamics on ε (Xiao et al., 2021). Run: python examples/plain_vaebm.py
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def data(n: int, rng: torch.Generator) -> Tensor:
    """25 Gaussians of std 0.1 on the grid {−4, −2, 0, 2, 4}²."""
    grid = torch.cartesian_prod(*[torch.arange(-4.0, 5.0, 2.0)] * 2)
    return grid[torch.randint(25, (n,), generator=rng)] + 0.1 * torch.randn(n, 2, generator=rng)


def split(raw: Tensor) -> tuple[Tensor, Tensor]:
    mu, log_sigma = raw.chunk(2, 1)
    return mu, log_sigma.clamp(-4, 2).exp()


def decode(decoder: nn.Module, eps_z: Tensor, eps_x: Tensor) -> Tensor:
    """x = T(ε): z = ε_z, x = μ(z) + σ(z) ε_x (eq. 6)."""
    mu, sigma = split(decoder(eps_z))
    return mu + sigma * eps_x


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--vae-steps", type=int, default=3000)
    options.add_argument("--energy-steps", type=int, default=1000)
    o = options.parse_args()
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    latent, batch, eta, chain = 4, 500, 0.01, 20

    encoder, decoder = mlp(2, 128, 128, 2 * latent), mlp(latent, 128, 128, 4)
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)
    for _ in range(o.vae_steps):  # stage one: the ELBO
        x = data(batch, rng)
        mu, sigma = split(encoder(x))
        z = mu + sigma * torch.randn(mu.shape, generator=rng)
        kl = 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum(1)
        mu_x, sigma_x = split(decoder(z))
        log_px = (-0.5 * ((x - mu_x) / sigma_x) ** 2 - sigma_x.log() - 0.5 * math.log(2 * math.pi)).sum(1)
        loss = (kl - log_px).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    print(f"ELBO {-float(loss.detach()):.3f} nats (the data's entropy gives {-1.4516})")

    energy = mlp(2, 128, 128, 1)
    adam = torch.optim.Adam(energy.parameters(), 2e-4)
    decoder.requires_grad_(False)
    for step in range(o.energy_steps):  # stage two: the energy
        x = data(batch, rng)
        eps = [torch.randn(batch, d, generator=rng) for d in (latent, 2)]
        for _ in range(chain):  # ε ← ε − (η/2) ∇U + √η ω, U = E(T(ε)) + ½‖ε‖² (eq. 7)
            eps = [e.detach().requires_grad_() for e in eps]
            u = energy(decode(decoder, *eps)).sum() + 0.5 * sum((e**2).sum() for e in eps)
            grads = torch.autograd.grad(u, eps)
            eps = [
                e - eta / 2 * g + eta**0.5 * torch.randn(e.shape, generator=rng)
                for e, g in zip(eps, grads, strict=True)
            ]
        positive, negative = energy(x), energy(decode(decoder, *eps).detach())
        gap = positive.mean() - negative.mean()  # eq. 5
        loss = gap + 0.01 * (positive**2 + negative**2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: energy gap {float(gap.detach()):.3f}")


if __name__ == "__main__":
    main()
