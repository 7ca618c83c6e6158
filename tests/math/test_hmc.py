"""The Hamiltonian kernel: reversible, keeps volume, in detailed balance."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.core import RowStreams, State, randn, stream
from vaebm_toolkit.core.hmc import Point, hmc_step, pointwise, trajectory


def two_modes(state: State) -> Tensor:
    """Weights 1 : 2 of N(−1.5, 0.5²) and N(1, 0.7²), in the first coordinate; unnormalised."""
    x = state["z"][:, 0]
    left = -0.5 * ((x + 1.5) / 0.5) ** 2 - math.log(0.5)
    right = -0.5 * ((x - 1) / 0.7) ** 2 - math.log(0.7) + math.log(2)
    return torch.logaddexp(left, right)


def samples(n: int, rng: torch.Generator) -> State:
    """Exact ones of `two_modes`."""
    right = torch.rand(n, 1, generator=rng) < 2 / 3
    noise = torch.randn(n, 1, generator=rng)
    return {"z": torch.where(right, 1 + 0.7 * noise, -1.5 + 0.5 * noise)}


def correlated(state: State) -> Tensor:
    flat = torch.cat([state["z"], state["x"]], 1)
    return -0.5 * flat.square().sum(1) - 0.3 * (flat[:, 0] * flat[:, 2]).square() - torch.cos(2 * flat[:, 1])


def start(n: int, rng: torch.Generator) -> State:
    return {"z": randn((n, 2), rng), "x": randn((n, 1), rng)}


def test_a_trajectory_leads_back(rng: torch.Generator) -> None:
    evaluate = pointwise(correlated)
    at, momentum = evaluate(start(20, rng)), start(20, rng)
    there, end = trajectory(at, momentum, evaluate, 0.3, 7)
    back, again = trajectory(there, {k: -v for k, v in end.items()}, evaluate, 0.3, 7)
    for name, value in at.state.items():
        torch.testing.assert_close(back.state[name], value)
        torch.testing.assert_close(again[name], -momentum[name])


def test_a_trajectory_keeps_volume(rng: torch.Generator) -> None:
    """det ∂(q′, p′)/∂(q, p) = 1, by finite differences."""
    evaluate = pointwise(correlated)

    def flow(flat: Tensor) -> Tensor:
        q, p = ({"z": v[:, :2], "x": v[:, 2:]} for v in flat.split(3, 1))
        at, p = trajectory(evaluate(q), p, evaluate, 0.4, 5)
        return torch.cat([at.state["z"], at.state["x"], p["z"], p["x"]], 1)

    flat, h = randn((1, 6), rng), 1e-6
    both = flow(torch.cat([flat + h * torch.eye(6), flat - h * torch.eye(6)]))
    jacobian = (both[:6] - both[6:]).T / (2 * h)
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-7)


def test_the_energy_error_falls_with_the_square_of_the_step(rng: torch.Generator) -> None:
    """Leapfrog is of second order: H moves by O(η²) over a trajectory of fixed length."""
    evaluate = pointwise(correlated)
    at, momentum = evaluate(start(200, rng)), start(200, rng)

    def error(step: float, steps: int) -> float:
        there, end = trajectory(at, momentum, evaluate, step, steps)
        kinetic = sum((end[k].square() - momentum[k].square()).sum(1) / 2 for k in end)
        return float((at.log_prob - there.log_prob + kinetic).square().mean().sqrt())

    assert math.log2(error(0.1, 10) / error(0.05, 20)) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("step", "leapfrog"), [(0.9, 1), (0.7, 3), (1.5, 2)])
def test_detailed_balance(step: float, leapfrog: int, rng: torch.Generator) -> None:
    """From exact samples, as many go from bin i to j as from j to i, and each bin keeps its share."""
    n = 200_000
    at = pointwise(two_modes)(samples(n, rng))
    moved, accept = hmc_step(at, pointwise(two_modes), step, leapfrog, rng)
    assert 0.2 < float(accept.mean()) < 0.98
    edges = torch.tensor([-1.6, -0.9, 0.0, 0.7, 1.3])
    before, after = (torch.bucketize(p.state["z"][:, 0].contiguous(), edges) for p in (at, moved))
    counts = torch.bincount(before * 6 + after, minlength=36).view(6, 6).double()
    moves = counts - counts.diag().diag()
    assert float(moves.sum()) > 0.1 * n
    z = (moves - moves.T) / (moves + moves.T).clamp(min=1).sqrt()
    assert float(z.abs().max()) < 4
    drift = (moves.sum(0) - moves.sum(1)) / (moves.sum(0) + moves.sum(1)).sqrt()
    assert float(drift.abs().max()) < 4


def test_the_acceptance_is_that_of_metropolis(rng: torch.Generator) -> None:
    """Moves are taken as often as their probabilities say; E[exp(H − H′)] = 1 for starts from the density."""
    n = 100_000
    at = pointwise(two_modes)(samples(n, rng))
    moved, accept = hmc_step(at, pointwise(two_modes), 1.0, 2, rng)
    taken = (moved.state["z"] != at.state["z"])[:, 0].double()
    assert abs(float((taken - accept).mean())) < 4 * (0.25 / n) ** 0.5
    momentum = {"z": randn((n, 1), rng)}
    there, end = trajectory(at, momentum, pointwise(two_modes), 0.5, 2)
    ratio = there.log_prob - at.log_prob + 0.5 * (momentum["z"].square() - end["z"].square())[:, 0]
    assert abs(float(ratio.exp().mean()) - 1) < 4 * float(ratio.exp().std()) / n**0.5


def test_what_is_known_at_a_point_stays_with_it(rng: torch.Generator) -> None:
    at = pointwise(correlated)(start(500, rng))
    moved, _ = hmc_step(at, pointwise(correlated), 1.3, 3, rng)
    again = pointwise(correlated)(moved.state)
    torch.testing.assert_close(moved.log_prob, again.log_prob)
    for name, grad in again.grad.items():
        torch.testing.assert_close(moved.grad[name], grad)


def walled(outside: float) -> Callable[[State], Point]:
    """−½ z² for z > 0, `outside` elsewhere."""

    def evaluate(state: State) -> Point:
        x = state["z"][:, 0]
        return Point(state, torch.where(x > 0, -0.5 * x.square(), outside), {"z": -state["z"]})

    return evaluate


@pytest.mark.parametrize("outside", [-math.inf, math.nan, math.inf])
def test_no_row_moves_where_the_density_is_not_finite(outside: float, rng: torch.Generator) -> None:
    at = walled(outside)({"z": randn((400, 1), rng).abs()})
    for _ in range(20):
        at, accept = hmc_step(at, walled(outside), 1.0, 2, rng)
        assert bool((at.state["z"] > 0).all())
        assert bool(((accept >= 0) & (accept <= 1)).all())
    half_normal = (2 / math.pi) ** 0.5
    assert abs(float(at.state["z"].mean()) - half_normal) < 4 * ((1 - 2 / math.pi) / 400) ** 0.5


def test_a_row_leaves_where_the_density_is_zero(rng: torch.Generator) -> None:
    at = walled(-math.inf)({"z": torch.full((5, 1), -0.1)})
    for _ in range(50):
        at, _ = hmc_step(at, walled(-math.inf), 0.5, 1, rng)
    assert bool((at.state["z"] > 0).all())


def test_rows_do_not_depend_on_each_other() -> None:
    at = pointwise(correlated)(start(6, torch.Generator().manual_seed(0)))

    def moved(rows: slice) -> tuple[Point, Tensor]:
        rng = RowStreams([stream(4, i) for i in range(6)[rows]])
        part = pointwise(correlated)({k: v[rows] for k, v in at.state.items()})
        size = torch.linspace(0.3, 1.2, 6)[rows]
        for _ in range(3):
            part, accept = hmc_step(part, pointwise(correlated), size, 3, rng)
        return part, accept

    all_rows, accept = moved(slice(0, 6))
    for i in range(6):
        one, alone = moved(slice(i, i + 1))
        torch.testing.assert_close(one.log_prob[0], all_rows.log_prob[i])
        torch.testing.assert_close(alone[0], accept[i])
