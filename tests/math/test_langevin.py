"""The Langevin kernel on Gaussians, where its stationary law is known in closed form."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from vaebm_langevin.kernel import DataLangevin, LatentLangevin
from vaebm_langevin.options import DataOptions, LatentOptions
from vaebm_toolkit.core import Decoded, Generator, State, data_density, latent_density, run_chain

CHAINS, DIM = 4000, 4
SCALES = [(1.5, 0.5), (2.0, 0.25), (5.0, 0.3)]  # (λ, η)


class Identity(Generator):
    """T(ε) = ε, so that U(ε) = E(ε) + ½‖ε‖²."""

    groups: ClassVar[dict[str, tuple[int, ...]]] = {"x": (DIM,)}

    def decode(self, eps: State) -> Decoded:
        return Decoded(eps["x"], torch.zeros(len(eps["x"])).to(eps["x"]))


def quadratic(precision: float):
    return lambda x: 0.5 * precision * x.square().sum(1)


def stationary_variance(precision: float, step_size: float, temperature: float = 1.0) -> float:
    """T / (λ (1 − ηλ/4)): the fixed point of v = (1 − ηλ/2)² v + ηT."""
    return temperature / (precision * (1 - step_size * precision / 4))


def steps_to_forget(precision: float, step_size: float) -> int:
    """Steps after which the start's share of the variance, (1 − ηλ/2)²ᵏ, is below 1e-6."""
    return math.ceil(math.log(1e-6) / (2 * math.log(abs(1 - step_size * precision / 2)))) + 1


def latent_chain(precision: float, rng: torch.Generator, **options: float) -> Tensor:
    sampler = LatentLangevin(LatentOptions(steps=steps_to_forget(precision, options["step_size"]), **options))
    start = {"x": torch.zeros(CHAINS, DIM, device=rng.device)}
    # λ of U is the energy's precision plus 1, from ½‖ε‖²
    return run_chain(sampler, start, latent_density(Identity(), quadratic(precision - 1)), rng)["x"]


def data_chain(precision: float, rng: torch.Generator, **options: float) -> Tensor:
    options = {"noise_scale": None, "grad_clip": None, **options}
    sampler = DataLangevin(DataOptions(steps=steps_to_forget(precision, options["step_size"]), **options))
    start = {"x": torch.zeros(CHAINS, DIM, device=rng.device)}
    return run_chain(sampler, start, data_density(quadratic(precision)), rng)["x"]


@pytest.mark.parametrize("chain", [latent_chain, data_chain])
class TestStationaryLaw:
    """CHAINS × DIM independent values: the standard error of a variance v is v √(2/n)."""

    @staticmethod
    def check(x: Tensor, variance: float) -> None:
        n = x.numel()
        assert abs(x.mean().item()) < 4 * (variance / n) ** 0.5
        assert abs(x.square().mean().item() - variance) < 4 * variance * (2 / n) ** 0.5

    @pytest.mark.parametrize(("precision", "step_size"), SCALES)
    def test_variance(self, chain, precision, step_size, rng):
        self.check(chain(precision, rng, step_size=step_size), stationary_variance(precision, step_size))

    @pytest.mark.parametrize("noise", [0.3, 1.5])
    def test_noise_scale_is_a_temperature(self, chain, noise, rng):
        precision, step_size = SCALES[1]
        x = chain(precision, rng, step_size=step_size, noise_scale=noise)
        self.check(x, stationary_variance(precision, step_size, noise**2 / step_size))


def test_gradient_clip(rng, device):
    """One noiseless step moves by −(η/2) · clip(∇U, ±c)."""
    x = torch.linspace(-3, 3, 24, device=device).view(6, DIM)
    options = {"steps": 1, "step_size": 0.5, "noise_scale": 0.0, "grad_clip": 0.7}
    data = run_chain(DataLangevin(DataOptions(**options)), {"x": x}, data_density(quadratic(1.0)), rng)
    torch.testing.assert_close(data["x"], x - 0.25 * x.clamp(-0.7, 0.7))
    density = latent_density(Identity(), quadratic(1.0))
    latent = run_chain(LatentLangevin(LatentOptions(**options)), {"x": x}, density, rng)
    torch.testing.assert_close(latent["x"], x - 0.25 * (2 * x).clamp(-0.7, 0.7))


def test_data_chain_is_projected_onto_the_bounds(device):
    """Each step is the free step, clamped."""
    x = torch.linspace(0, 1, 400, device=device).view(100, DIM)
    options = DataOptions(steps=1, step_size=0.1, noise_scale=0.5, grad_clip=None)
    bounded, free = (
        run_chain(
            DataLangevin(options, bounds),
            {"x": x},
            data_density(quadratic(1.0)),
            torch.Generator(device).manual_seed(1),
        )["x"]
        for bounds in ((0.0, 1.0), None)
    )
    assert free.min() < 0
    assert free.max() > 1
    torch.testing.assert_close(bounded, free.clamp(0, 1), rtol=0, atol=0)


def test_latent_bounds_clamp_the_data_not_the_noise(rng, device):
    """Where T(ε) saturates, the energy exerts no force: only ½‖ε‖² does."""
    x = torch.tensor([[2.0, -2.0, 0.5, 0.5]], device=device)
    sampler = LatentLangevin(LatentOptions(steps=1, step_size=1.0, noise_scale=0.0, clamp=True), (0.0, 1.0))
    density = latent_density(Identity(), quadratic(1.0), sampler.bounds)
    end = run_chain(sampler, {"x": x}, density, rng)["x"]
    force = x + torch.tensor([0.0, 0.0, 0.5, 0.5], device=device)
    torch.testing.assert_close(end, x - 0.5 * force)
