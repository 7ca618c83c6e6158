"""What the two latent densities sample: the paper's target and the released code's."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from vaebm_langevin.kernel import JointLangevin, LatentLangevin
from vaebm_langevin.options import JointOptions, LatentOptions
from vaebm_toolkit.core import (
    Decoded,
    Generator,
    State,
    joint_density,
    latent_density,
    official_latent_density,
    run_chain,
    square_norm,
    standard_normal,
)

CHAINS = 8000


class TwoGroups(Generator):
    """z0 = ε_z0; x = μ(z0) + σ(z0) ε_x with log σ = 0.8 tanh(z0): a scale that depends on the state."""

    groups: ClassVar[dict[str, tuple[int, ...]]] = {"z0": (2,), "x": (2,)}

    def decode(self, eps: State) -> Decoded:
        log_sigma = 0.8 * torch.tanh(eps["z0"])
        return Decoded(torch.sin(eps["z0"]) + log_sigma.exp() * eps["x"], log_sigma.sum(1))

    def values(self, eps: State) -> State:
        return {"z0": eps["z0"], "x": self.decode(eps).x}

    def noise(self, values: State) -> tuple[State, Tensor]:
        log_sigma = 0.8 * torch.tanh(values["z0"])
        eps = (values["x"] - torch.sin(values["z0"])) / log_sigma.exp()
        return {"z0": values["z0"], "x": eps}, log_sigma.sum(1)


def no_energy(x: Tensor) -> Tensor:
    return 0 * x.sum(1)


def ring(x: Tensor) -> Tensor:
    """An energy with curvature, skewed by a linear term."""
    return 2 * (x.norm(dim=1) - 1).square() + 0.7 * x[:, 0]


def chain(density, rng: torch.Generator, steps: int, step_size: float) -> State:
    sampler = LatentLangevin(LatentOptions(steps=steps, step_size=step_size))
    return run_chain(sampler, standard_normal(TwoGroups.groups, CHAINS, rng), density, rng)


@pytest.mark.parametrize("group", ["z0", "x"])
def test_without_energy_the_exact_target_keeps_the_noise_standard_normal(group, rng):
    """Mean 0 and variance 1 up to the discretisation's η/4, within 4 standard errors."""
    step_size = 0.02
    eps = chain(latent_density(TwoGroups(), no_energy), rng, 150, step_size)[group]
    assert (eps.mean(0).abs() < 4 * CHAINS**-0.5).all()
    assert ((eps.var(0) - 1).abs() < step_size / 4 + 4 * (2 / CHAINS) ** 0.5).all()


def test_without_energy_the_official_target_moves_the_noise(rng):
    """The released chain's −Σ log σ drives ε_z0 to where σ is small."""
    eps = chain(official_latent_density(TwoGroups(), no_energy), rng, 150, 0.02)["z0"]
    standard_error = eps.std(0) / CHAINS**0.5
    assert (eps.mean(0) < -10 * standard_error).all()


def test_chain_mean_equals_importance_sampling(rng):
    """E_h[f(ε)] by the chain and by ε ~ N(0, I) with weights exp(−E(T(ε))), for f = ε and f = x."""
    generator, draws = TwoGroups(), 400_000
    eps = chain(latent_density(generator, ring), rng, 600, 0.02)
    on_chain = torch.cat([eps["z0"], eps["x"], generator.decode(eps).x], 1)

    prior = standard_normal(generator.groups, draws, rng)
    x = generator.decode(prior).x
    weights = torch.softmax(-ring(x), 0)[:, None]
    values = torch.cat([prior["z0"], prior["x"], x], 1)
    expected = (weights * values).sum(0)
    variance = (weights.square() * (values - expected).square()).sum(0)  # delta method
    standard_error = (on_chain.var(0) / CHAINS + variance).sqrt()
    assert ((on_chain.mean(0) - expected).abs() < 4 * standard_error).all()
    # and the test can see the difference to the official target
    official = chain(official_latent_density(generator, ring), rng, 600, 0.02)["z0"]
    assert ((official.mean(0) - expected[:2]).abs() > 10 * standard_error[:2]).any()


def test_official_log_density_is_the_exact_one_minus_the_log_determinant(rng):
    generator = TwoGroups()
    eps = standard_normal(generator.groups, 50, rng)
    exact, official = latent_density(generator, ring)(eps), official_latent_density(generator, ring)(eps)
    torch.testing.assert_close(official, exact - generator.decode(eps).log_det, rtol=0, atol=1e-12)


def test_official_log_density_is_the_joint_of_data_and_latents(rng):
    """log N(z0; 0, 1) + log N(x; μ, σ²) − E(x), up to the constant of four normal densities."""
    generator = TwoGroups()
    eps = standard_normal(generator.groups, 50, rng)
    x = generator.decode(eps).x
    sigma = (0.8 * torch.tanh(eps["z0"])).exp()
    prior = torch.distributions.Normal(torch.zeros_like(sigma), 1.0).log_prob(eps["z0"]).sum(1)
    likelihood = torch.distributions.Normal(torch.sin(eps["z0"]), sigma).log_prob(x).sum(1)
    constant = 2 * torch.log(torch.tensor(2 * torch.pi))
    official = official_latent_density(generator, ring)(eps)
    torch.testing.assert_close(official - constant, prior + likelihood - ring(x), rtol=0, atol=1e-12)


def test_log_determinant_of_the_toy_is_that_of_its_jacobian(rng):
    generator = TwoGroups()
    eps = standard_normal(generator.groups, 1, rng)

    def flat(v: Tensor) -> Tensor:
        return torch.cat([v[:2], generator.decode({"z0": v[None, :2], "x": v[None, 2:]}).x[0]])

    jacobian = torch.autograd.functional.jacobian(flat, torch.cat([eps["z0"][0], eps["x"][0]]))
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, generator.decode(eps).log_det[0])


def test_clamp_leaves_the_energy_unchanged_inside_the_bounds(rng):
    generator = TwoGroups()
    eps = standard_normal(generator.groups, 200, rng)
    inside = (generator.decode(eps).x.abs() < 1).all(1)
    free, clamped = latent_density(generator, ring)(eps), latent_density(generator, ring, (-1, 1))(eps)
    assert inside.any()
    assert not inside.all()
    assert torch.equal(free[inside], clamped[inside])
    bound = generator.decode(eps).x[~inside].clamp(-1, 1)
    prior = -0.5 * square_norm({k: v[~inside] for k, v in eps.items()})
    torch.testing.assert_close(clamped[~inside], -ring(bound) + prior)


def test_joint_log_density_is_log_p_of_z_and_x_minus_the_energy(rng):
    """log N(z0; 0, 1) + log N(x; μ, σ²) − E(x) at any (z, x), up to the constant of four normal densities."""
    generator = TwoGroups()
    values = standard_normal(generator.groups, 50, rng)  # any values, not those of their own noise
    sigma = (0.8 * torch.tanh(values["z0"])).exp()
    prior = torch.distributions.Normal(torch.zeros_like(sigma), 1.0).log_prob(values["z0"]).sum(1)
    likelihood = torch.distributions.Normal(torch.sin(values["z0"]), sigma).log_prob(values["x"]).sum(1)
    constant = 2 * torch.log(torch.tensor(2 * torch.pi))
    found = joint_density(generator, ring)(values) - constant
    torch.testing.assert_close(found, prior + likelihood - ring(values["x"]), rtol=0, atol=1e-12)


def test_the_joint_chain_has_the_same_distribution_where_it_converges(rng):
    """On a toy whose scales are alike, (z, x) by its own chain and T(ε) by the chain in ε-space agree."""
    generator = TwoGroups()
    eps = chain(latent_density(generator, ring), rng, 600, 0.02)
    sampler = JointLangevin(JointOptions(steps=1200, step_size=0.01))
    start = generator.values(standard_normal(generator.groups, CHAINS, rng))
    joint = run_chain(sampler, start, joint_density(generator, ring), rng)
    for name, by_noise in generator.values(eps).items():
        error = ((by_noise.var(0) + joint[name].var(0)) / CHAINS).sqrt()
        assert ((by_noise.mean(0) - joint[name].mean(0)).abs() < 4 * error).all()


def test_small_scales_break_the_joint_chain_and_not_the_reparametrised_one(rng):
    """x = z + 0.01 ε_x: a step that mixes z multiplies x's error by 1 − η/2σ² = −49 per step."""

    class Peaked(TwoGroups):
        def decode(self, eps: State) -> Decoded:
            return Decoded(eps["z0"] + 0.01 * eps["x"], torch.full((len(eps["x"]),), 2 * math.log(0.01)))

        def values(self, eps: State) -> State:
            return {"z0": eps["z0"], "x": self.decode(eps).x}

        def noise(self, values: State) -> tuple[State, Tensor]:
            x = (values["x"] - values["z0"]) / 0.01
            return {"z0": values["z0"], "x": x}, torch.full((len(x),), 2 * math.log(0.01))

    generator, step = Peaked(), 0.01
    start = standard_normal(generator.groups, 200, rng)
    joint, latent = JointOptions(steps=40, step_size=step), LatentOptions(steps=40, step_size=step)
    density = joint_density(generator, ring)
    far = run_chain(JointLangevin(joint), generator.values(start), density, rng)
    near = run_chain(LatentLangevin(latent), start, latent_density(generator, ring), rng)
    assert (far["x"].abs() > 1e6).all() or not torch.isfinite(far["x"]).all()
    assert (generator.values(near)["x"].abs() < 10).all()
    # a step that x can bear hardly moves z: 40 steps take it 40 · 1e-5 = 0.02² further
    slow = JointOptions(steps=40, step_size=1e-5)
    end = run_chain(JointLangevin(slow), generator.values(start), density, rng)
    assert (end["z0"] - start["z0"]).std() < 0.05
