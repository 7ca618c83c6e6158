"""The integrator of Hamiltonian Monte Carlo, and what its shortest trajectory is."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from vaebm_mcmc.hmc import leapfrog
from vaebm_mcmc.metropolis import Point, evaluator
from vaebm_toolkit.core import State, randn, run_chain, standard_normal, stream

from .conftest import hmc, log_gamma, mala

STEPS = 6


def density(state: State) -> Tensor:
    """Anharmonic, with groups that interact."""
    z, x = state["z"], state["x"]
    return -(0.25 * z.square().square().sum(1) + 0.5 * (x.sum(1) - z[:, 0]).square() + x.cosh().sum(1))


def score(point: Point) -> State:
    return point.score


def start(n: int, device: torch.device) -> tuple[State, State]:
    rng = stream(0, "leapfrog", device=device)
    groups = {"z": (2,), "x": (2,)}
    return standard_normal(groups, n, rng), standard_normal(groups, n, rng)


def hamiltonian(point: Point, momentum: State) -> Tensor:
    return -point.log_prob + 0.5 * sum(p.square().sum(1) for p in momentum.values())


def test_the_error_of_the_energy_is_of_second_order(device):
    """Over a time of 1.2, |ΔH| falls with δ²: halving δ divides it by 2²."""
    evaluate = evaluator(density)
    position, momentum = start(200, device)
    here = evaluate(position)
    sizes = [0.1, 0.05, 0.025, 0.0125]
    errors = []
    for size in sizes:
        delta = torch.full((200,), size, device=device)
        end = leapfrog(here, momentum, delta, round(1.2 / size), evaluate, score)
        errors.append(float((hamiltonian(*end) - hamiltonian(here, momentum)).abs().mean()))
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_way_back_is_the_same_way(clip, device):
    """From (v′, −p′) the same steps lead to (v, −p), also with a clipped gradient."""
    sampler, evaluate = hmc(grad_clip=clip), evaluator(density)
    position, momentum = start(50, device)
    delta = torch.linspace(0.05, 0.4, 50, device=device)
    there, end = leapfrog(evaluate(position), momentum, delta, STEPS, evaluate, sampler.force)
    back, last = leapfrog(there, {k: -p for k, p in end.items()}, delta, STEPS, evaluate, sampler.force)
    for k, v in position.items():
        torch.testing.assert_close(back.position[k], v, rtol=0, atol=1e-12)
        torch.testing.assert_close(last[k], -momentum[k], rtol=0, atol=1e-12)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_it_keeps_volumes(clip, device):
    """The Jacobian of (v, p) ↦ (v′, p′) has determinant 1."""
    sampler = hmc(grad_clip=clip)

    def evaluate(position: State) -> Point:
        """As `evaluator`, but so that the gradient can be differentiated again."""
        log_prob = density(position)
        grads = torch.autograd.grad(log_prob.sum(), list(position.values()), create_graph=True)
        return Point(position, log_prob, dict(zip(position, grads, strict=True)))

    def flow(flat: Tensor) -> Tensor:
        z, x, p, q = flat[None].chunk(4, dim=1)
        point = evaluate({"z": z, "x": x})
        end, momentum = leapfrog(
            point, {"z": p, "x": q}, torch.full((1,), 0.3, device=device), STEPS, evaluate, sampler.force
        )
        return torch.cat([*end.position.values(), *momentum.values()], 1)[0]

    for flat in randn((3, 8), stream(1, "volume", device=device)):
        jacobian = torch.autograd.functional.jacobian(flow, flat)
        assert (jacobian - torch.eye(8, device=device)).abs().max() > 0.1
        torch.testing.assert_close(torch.linalg.det(jacobian), torch.ones((), device=device))


@pytest.mark.parametrize("clip", [None, 0.5])
def test_one_leapfrog_step_is_langevin(clip, device):
    """δ = √η: the same proposal, the same test, so the same chain."""
    one = mala(steps=5, step_size=0.49, grad_clip=clip)
    other = hmc(steps=5, step_size=0.7, leapfrog=1, jitter=0.0, grad_clip=clip)
    begin, _ = start(40, device)
    seen = []
    for sampler in (one, other):
        rng = stream(3, "chain", device=device)
        end = run_chain(sampler, begin, density, rng, observe=lambda k, p, d: seen.append(d["acceptance"]))
        seen.append(end["z"])
    for a, b in zip(seen[:6], seen[6:], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert 0.2 < seen[0] < 0.99


def test_a_step_of_langevin_is_the_equation(device):
    """v′ = v + (η/2) ∇log π + √η ω, and its ratio is π(v′) q(v|v′) / (π(v) q(v′|v)) with Gaussian q."""
    eta, evaluate = 0.3, evaluator(log_gamma)
    here = evaluate({"z": randn((30, 3), stream(0, "v", device=device))})
    there, log_ratio = mala().propose(
        here, torch.full((30,), eta, device=device), evaluate, stream(0, "ω", device=device)
    )
    mean = here.position["z"] + eta / 2 * (2 - here.position["z"].exp())
    noise = randn((30, 3), stream(0, "ω", device=device))
    torch.testing.assert_close(there.position["z"], mean + eta**0.5 * noise)
    back = there.position["z"] + eta / 2 * (2 - there.position["z"].exp())
    forth_q = torch.distributions.Normal(mean, eta**0.5).log_prob(there.position["z"]).sum(1)
    back_q = torch.distributions.Normal(back, eta**0.5).log_prob(here.position["z"]).sum(1)
    torch.testing.assert_close(log_ratio, there.log_prob - here.log_prob + back_q - forth_q)
