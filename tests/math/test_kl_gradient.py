"""The decoder's gradient in vaebm-kl is that of D_KL(p_θ(x) ‖ h(x)), h held fixed.

A one-dimensional model with a nonlinear decoder, so that p_θ(x), Z and the divergence are integrals
that quadrature gives to 1e-10.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vaebm_langevin.kernel import LatentLangevin
from vaebm_langevin.options import LatentOptions
from vaebm_toolkit.builtin.moving_options import VaebmKlOptions
from vaebm_toolkit.builtin.vaebm_kl import VaebmKlTrainer
from vaebm_toolkit.core import Decoded, EnergyFunction, Generator, Horizon, State, stream

GRID = torch.linspace(-14, 14, 4001, dtype=torch.float64)
STEP = float(GRID[1] - GRID[0])


class Curve(Generator):
    """x = a + b (z + ½ sin 2z) + exp(s) ε_x, z = ε_z0 ~ N(0, 1); θ = (a, b, s)."""

    groups: ClassVar[dict[str, tuple[int, ...]]] = {"z0": (1,), "x": (1,)}

    def __init__(self, theta: tuple[float, float, float] = (0.4, 0.8, -0.3)) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.as_tensor(theta, dtype=torch.float64).clone())

    def at(self, z: Tensor) -> Tensor:
        a, b, _ = self.theta
        return a + b * (z + 0.5 * torch.sin(2 * z))

    def decode(self, eps: State) -> Decoded:
        return Decoded(
            self.at(eps["z0"]) + self.theta[2].exp() * eps["x"], self.theta[2].expand(len(eps["x"]))
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """log p_θ(x) = log ∫ N(z; 0, 1) N(x; m(z), σ²) dz, (N,) nats."""
        z, weight = normal_nodes()
        s = self.theta[2]
        log_px = -0.5 * ((x[:, None] - self.at(z)) / s.exp()).square() - s - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(weight.log() + log_px, 1)


class Tilted(EnergyFunction):
    """E(x) = w (¼ (x − 1)² + sin 2x)"""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.w * (0.25 * (x - 1).square() + torch.sin(2 * x)).flatten(1).sum(1)


def normal_nodes(n: int = 100) -> tuple[Tensor, Tensor]:
    """Nodes and weights of expectations under N(0, 1) (Gauss-Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return torch.tensor(nodes), torch.tensor(weights / weights.sum()).clamp(min=1e-300)


def trainer() -> VaebmKlTrainer:
    return VaebmKlTrainer(
        VaebmKlOptions(), Horizon(10, 5, 16), Curve(), Tilted(),
        LatentLangevin(LatentOptions(steps=2, step_size=0.01)), None,
    )  # fmt: skip


@torch.no_grad()
def divergence(theta: Tensor, theta_of_h: Tensor) -> float:
    """D_KL(p_θ ‖ h_θ'), log h_θ'(x) = log p_θ'(x) − E(x) − log Z(θ')."""
    log_p, log_p_of_h = Curve(theta).log_prob(GRID), Curve(theta_of_h).log_prob(GRID)
    energy = Tilted()(GRID[:, None])
    log_z = torch.logsumexp(log_p_of_h - energy, 0) + math.log(STEP)
    log_h = log_p_of_h - energy - log_z
    return float((log_p.exp() * (log_p - log_h)).sum() * STEP)


def finite_difference(moving: bool, size: float = 1e-4) -> Tensor:
    """∂_θ D_KL(p_θ ‖ h_θ') at θ' = θ by central differences; θ' follows θ where `moving`."""
    theta, found = Curve().theta.detach(), []
    for direction in torch.eye(3, dtype=torch.float64) * size:
        ends = [divergence(theta + d, theta + d if moving else theta) for d in (direction, -direction)]
        found.append((ends[0] - ends[1]) / (2 * size))
    return torch.tensor(found)


def expected_gradient() -> Tensor:
    """∂_θ E_ε[E(T_θ(ε))] of the trainer's own function, E_ε by quadrature over both noises."""
    t = trainer()
    (z, wz), (e, we) = normal_nodes(), normal_nodes()
    eps = {"z0": z.repeat_interleave(len(e))[:, None], "x": e.repeat(len(z))[:, None]}
    mean = (wz.repeat_interleave(len(e)) * we.repeat(len(z)) * t.generated_energy(eps)).sum()
    (gradient,) = torch.autograd.grad(mean, [t.generator.theta])
    return gradient


def test_quadrature_knows_the_densities() -> None:
    total = (Curve().log_prob(GRID).exp().sum() * STEP).item()
    assert total == pytest.approx(1, abs=1e-10)
    assert divergence(Curve().theta.detach(), Curve().theta.detach()) > 0.1


def test_the_expected_gradient_is_that_of_the_divergence() -> None:
    torch.testing.assert_close(expected_gradient(), finite_difference(moving=False), rtol=0, atol=1e-6)


def test_h_that_moves_along_has_another_gradient() -> None:
    """It adds ∂_θ log Z_θ = E_h[∂_θ log p_θ(x)]: the test above can fail."""
    curve = Curve()
    log_p = curve.log_prob(GRID)
    log_z = torch.logsumexp(log_p - Tilted()(GRID[:, None]).detach(), 0) + math.log(STEP)
    (slope,) = torch.autograd.grad(log_z, [curve.theta])
    moving = finite_difference(moving=True)
    torch.testing.assert_close(moving, expected_gradient() + slope, rtol=0, atol=1e-6)
    assert (moving - finite_difference(moving=False)).abs().min() > 0.1


def test_the_trainers_update_is_an_unbiased_estimate() -> None:
    """Its gradient on a batch of 200,000, within 4 standard errors from batches of 2,000."""
    t = trainer()

    def gradient(n: int, seed: int) -> Tensor:
        *_, update = t.updates(torch.zeros(n, 1, dtype=torch.float64), 0, stream(seed))
        assert update.player == "generator"
        (found,) = torch.autograd.grad(update.loss, [t.generator.theta])
        return found

    small = torch.stack([gradient(2_000, seed) for seed in range(1, 41)])
    standard_error = small.std(0) / 100**0.5
    difference = gradient(200_000, 0) - finite_difference(moving=False)
    assert (difference.abs() < 4 * standard_error).all()
    assert (standard_error < 0.02).all(), "it could see the other gradient"
