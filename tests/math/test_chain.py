"""The one gradient and the one loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vaebm_toolkit.core import (
    State,
    data_density,
    prior_jumps,
    randn,
    run_chain,
    square_norm,
    value_and_grad,
)
from vaebm_toolkit.core.interfaces import Sampler


def density_of(network: nn.Module):
    return lambda state: network(torch.cat([state["z0"], state["x"].flatten(1)], 1)).squeeze(1)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 1))


def state(n: int) -> State:
    rng = torch.Generator().manual_seed(3)
    return {"z0": randn((n, 2), rng), "x": randn((n, 3, 2), rng)}


def test_gradient_equals_finite_differences():
    density, at = density_of(network()), state(3)
    value, grad = value_and_grad(density, at)
    torch.testing.assert_close(value, density(at).detach())
    h = 1e-6
    for name, v in at.items():
        for i in range(v[0].numel()):
            step = torch.zeros_like(v).flatten(1)
            step[:, i] = h
            step = step.view_as(v)
            up, down = density({**at, name: v + step}), density({**at, name: v - step})
            slope = (up - down).detach() / (2 * h)
            torch.testing.assert_close(grad[name].flatten(1)[:, i], slope, rtol=1e-6, atol=1e-8)


def test_gradient_of_a_row_does_not_depend_on_the_batch():
    density, at = density_of(network()), state(6)
    value, grad = value_and_grad(density, at)
    for i in range(6):
        one_value, one_grad = value_and_grad(density, {k: v[i : i + 1] for k, v in at.items()})
        torch.testing.assert_close(one_value, value[i : i + 1], rtol=0, atol=1e-14)
        for name in at:
            torch.testing.assert_close(one_grad[name], grad[name][i : i + 1], rtol=0, atol=1e-14)


def test_gradient_leaves_weights_and_state_alone():
    net, at = network(), state(2)
    value, grad = value_and_grad(density_of(net), at)
    assert all(p.grad is None for p in net.parameters())
    assert not any(v.requires_grad for v in at.values())
    assert not value.requires_grad
    assert not any(g.requires_grad for g in grad.values())


def test_gradient_works_under_no_grad():
    with torch.no_grad():
        _, grad = value_and_grad(density_of(network()), state(2))
    assert all(g.abs().sum() > 0 for g in grad.values())


class Halving(Sampler):
    """x ← x / 2."""

    space = "data"
    steps = 3

    def step(self, state: State, log_density, rng) -> tuple[State, dict[str, Tensor]]:
        moved = {k: v / 2 for k, v in state.items()}
        return moved, {"log_prob": log_density(moved).mean()}


def test_run_chain_applies_the_kernel_and_reports_each_step(rng):
    seen = []
    start = {"x": torch.full((2, 1), 8.0)}
    end = run_chain(
        Halving(),
        start,
        data_density(lambda x: x.sum(1)),
        rng,
        observe=lambda k, state, diagnostics: seen.append((k, diagnostics["log_prob"].item())),
    )
    assert end["x"].tolist() == [[1.0], [1.0]]
    assert start["x"].tolist() == [[8.0], [8.0]]
    assert seen == [(0, -4.0), (1, -2.0), (2, -1.0)]
    assert run_chain(Halving(), start, data_density(lambda x: x.sum(1)), rng, steps=0)["x"].tolist() == [
        [8.0],
        [8.0],
    ]


def test_prior_jumps_leave_the_density_as_it_is() -> None:
    """h ∝ N(ε; 0, I) exp(−E) with two separate modes: chains that start in one reach both by their weights.

    E(ε) = −log(e^{−8(ε−1)²} + 3 e^{−8(ε+1)²}): h has weights 1 : 3 and Gaussians N(±16/17, 1/17).
    """
    n = 20_000

    def log_density(state: State) -> torch.Tensor:
        x = state["z"][:, 0]
        tilt = torch.logaddexp(-8 * (x - 1) ** 2, torch.tensor(3.0).log() - 8 * (x + 1) ** 2)
        return tilt - 0.5 * x.square()

    start = {"z": torch.full((n, 1), 16 / 17)}
    state, accepted = prior_jumps(start, log_density, 60, torch.Generator().manual_seed(3))
    x = state["z"][:, 0]
    right = x > 0
    assert float(right.double().mean()) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / n) ** 0.5)
    for side, mean in ((right, 16 / 17), (~right, -16 / 17)):
        count = int(side.sum())
        assert float(x[side].mean()) == pytest.approx(mean, abs=4 * (1 / 17 / count) ** 0.5)
        assert float(x[side].var()) == pytest.approx(1 / 17, rel=4 * (2 / count) ** 0.5)
    assert 0.1 < float(accepted) < 0.9


def test_prior_jumps_in_a_flat_energy_are_all_accepted() -> None:
    state = {"z": torch.zeros(5, 2), "x": torch.zeros(5, 1, 3)}
    found, accepted = prior_jumps(state, lambda s: -0.5 * square_norm(s), 1, torch.Generator().manual_seed(0))
    assert accepted == 1
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in state.items()}
    assert all((v != 0).all() for v in found.values())
