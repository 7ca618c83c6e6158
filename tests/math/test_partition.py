"""log Z from both sides: Gaussians of several dimensions, and 25 modes in the plane."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.core import RowStreams, State, stream
from vaebm_toolkit.evaluation.annealing import Plan, forward, linear, reverse, sigmoidal
from vaebm_toolkit.evaluation.density import lattice, log_mean_exp
from vaebm_toolkit.evaluation.partition import Bounds, LogZ, by_samples, from_above, from_below
from vaebm_toolkit.evaluation.paths import Path, latent_path
from vaebm_toolkit.evaluation.pilot import spaced, tuned

from .affine import Affine, Product


def both(path: Path, plan: Plan, starts: State, chains: int, seed: int = 0, size: int = 500) -> Bounds:
    return Bounds(
        from_below(path, plan, chains, seed=seed, batch_size=size),
        from_above(path, plan, starts, seed=seed, batch_size=size),
    )


@pytest.mark.parametrize("size", [2, 10])
@pytest.mark.parametrize("adaptive", [False, True])
def test_the_truth_lies_between_the_bounds(size: int, adaptive: bool) -> None:
    product = Product(size, 4.0)
    if adaptive:
        plan = spaced(product.path, stream(0), ess=0.998)
    else:
        plan = tuned(product.path, sigmoidal(100), stream(0))
    found = both(product.path, plan, product.exact(300), 300)
    assert found.upper is not None
    assert (
        found.lower.value - 4 * found.lower.error < product.log_z < found.upper.value + 4 * found.upper.error
    )
    assert abs(found.gap) < 0.5
    for side in found:
        assert side is not None
        assert 20 < side.ess <= side.draws == 300
        assert side.without == 0
        assert side.acceptance is not None
        assert 0.4 < float(side.acceptance.mean()) < 1


@pytest.mark.slow
def test_in_50_dimensions_samples_of_the_prior_fail_and_annealing_does_not() -> None:
    product = Product(50, 10.0)
    naive = by_samples(product.path, 100_000, seed=0, batch_size=20_000)
    assert product.log_z - naive.value > 20, "far too low"
    assert product.log_z - naive.value > 10 * naive.error, "and its error does not say so"
    assert naive.ess < 10
    plan = tuned(product.path, linear(1500), stream(0), leapfrog=4)
    found = both(product.path, plan, product.exact(100), 100)
    assert found.upper is not None
    assert (
        found.lower.value - 4 * found.lower.error < product.log_z < found.upper.value + 4 * found.upper.error
    )
    assert abs(found.lower.value - product.log_z) < 1.5
    assert abs(found.upper.value - product.log_z) < 1.5
    low, high = found.within(0.01)
    assert low < product.log_z < high
    assert high - low == pytest.approx(found.gap + 2 * math.log(200))


def test_in_expectation_the_bounds_are_on_their_sides() -> None:
    """Of 300 estimates from few draws and temperatures, the mean is more than 4 errors on the right side."""
    product, repeats = Product(4, 4.0), 300
    plan = tuned(product.path, linear(8), stream(0))
    eps = product.path.sample_base(20 * repeats, stream(4))
    down = forward(product.path, plan, 3 * repeats, stream(1)).log_weight
    up = reverse(product.path, plan, product.exact(3 * repeats), stream(2)).log_weight
    naive = log_mean_exp(product.path.log_ratio(eps).view(20, repeats)).value
    below, above = log_mean_exp(down.view(3, repeats)).value, -log_mean_exp(up.view(3, repeats)).value
    for values, side in ((below, -1), (naive, -1), (above, 1)):
        assert side * (float(values.mean()) - product.log_z) > 4 * float(values.std()) / repeats**0.5
    # Markov: Z is exceeded e-fold by at most one in e, each way
    assert int((below > product.log_z + 1).sum()) < repeats / math.e
    assert int((above < product.log_z - 1).sum()) < repeats / math.e


def test_samples_of_the_prior_are_enough_in_the_plane() -> None:
    product = Product(2, 4.0)
    found = by_samples(product.path, 50_000, seed=0, batch_size=7_000)
    assert abs(found.value - product.log_z) < 4 * found.error
    assert 0 < found.error < 0.02
    assert found.draws == found.evaluations == 50_000
    assert found.acceptance is None


def grid_of_modes() -> tuple[Path, float]:
    """p_θ = N(0, 3²), E(x) = 3 − log Σ exp(−‖x − m‖²/(2 · 0.2²)) over 25 m on a grid; Z by quadrature."""
    modes = torch.cartesian_prod(*[torch.arange(-4.0, 5.0, 2.0)] * 2)

    def energy(x: Tensor) -> Tensor:
        square = (x[:, None] - modes).square().sum(2)
        return 3 - torch.logsumexp(-square / (2 * 0.2**2), 1)

    grid = lattice(torch.tensor([[-6.0, -6.0], [6.0, 6.0]]), 0.05, 0.0)
    log_p = torch.distributions.Normal(0.0, 3.0).log_prob(grid.points).sum(1)
    energies = torch.cat([energy(part) for part in grid.points.split(5000)])
    log_z = float(torch.logsumexp(log_p - energies, 0)) + 2 * math.log(grid.spacing)
    return latent_path(Affine(3 * torch.eye(2), torch.zeros(2)), energy, torch.zeros(())), log_z


def test_25_modes() -> None:
    path, log_z = grid_of_modes()
    naive = by_samples(path, 100_000, seed=0, batch_size=10_000)
    assert abs(naive.value - log_z) < 4 * naive.error
    plan = tuned(path, sigmoidal(100), stream(0))
    found = from_below(path, plan, 2000, seed=0, batch_size=1000)
    assert abs(found.value - log_z) < 4 * found.error
    assert found.error < 0.05
    # exact samples of h by rejection from p_θ: exp(−E) is at most exp(−3) (1 + next to nothing)
    eps = path.sample_base(200_000, stream(5))
    taken = torch.rand(200_000, generator=stream(6)).log() < path.log_ratio(eps) + 3 - 1e-6
    starts = {name: v[taken][:1000] for name, v in eps.items()}
    assert len(starts["x"]) == 1000
    upper = from_above(path, plan, starts, seed=0, batch_size=1000)
    assert abs(upper.value - log_z) < 4 * upper.error
    assert upper.error < 0.1


def test_nothing_depends_on_the_batch_size() -> None:
    product = Product(6, 4.0)
    plan = tuned(product.path, linear(20), stream(0))
    starts = product.exact(40)
    several = [both(product.path, plan, starts, 40, size=size) for size in (1, 7, 40)]
    naive = [by_samples(product.path, 3000, seed=0, batch_size=size) for size in (100, 5000)]
    for sides in (*zip(*several, strict=True), tuple(naive)):
        a = sides[0]
        for b in sides[1:]:
            assert b[:2] == pytest.approx(a[:2])
            assert b[2:6] == pytest.approx(a[2:6])
            if a.acceptance is not None:
                torch.testing.assert_close(a.acceptance, b.acceptance)
    other = from_below(product.path, plan, 40, seed=1, batch_size=40)
    assert other.value != several[0].lower.value


def test_a_chain_is_the_same_among_others() -> None:
    product = Product(6, 4.0)
    plan = tuned(product.path, linear(10), stream(0))

    def weights(rows: range) -> Tensor:
        return forward(product.path, plan, len(rows), RowStreams([stream(3, i) for i in rows])).log_weight

    torch.testing.assert_close(torch.cat([weights(range(0, 3)), weights(range(3, 8))]), weights(range(8)))


def test_evaluations_are_counted() -> None:
    seen = 0

    def energy(x: Tensor) -> Tensor:
        nonlocal seen
        seen += len(x)
        return x.square().sum(1)

    path = latent_path(Affine(torch.eye(3), torch.zeros(3)), energy, torch.zeros(()))

    def counted(made: LogZ | Plan) -> int:
        nonlocal seen
        before, seen = seen, 0
        return before

    plan = tuned(path, linear(9), stream(0), leapfrog=2, moves=3)
    assert counted(plan) == plan.spent
    other = spaced(path, stream(0), ess=0.5, leapfrog=2)
    assert counted(other) == other.spent
    below = from_below(path, plan, 10, seed=0, batch_size=4)
    assert counted(below) == below.evaluations == 10 * (1 + 8 * 3 * 2)
    naive = by_samples(path, 2500, seed=0, batch_size=400)
    assert counted(naive) == naive.evaluations == 2500


def test_draws_without_a_finite_energy_are_counted_and_weigh_nothing() -> None:
    def energy(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 1, math.nan, 0 * x[:, 0])

    path = latent_path(Affine(torch.eye(2), torch.zeros(2)), energy, torch.zeros(()))
    inside = float(torch.special.ndtr(torch.tensor(1.0)))
    plan = Plan(linear(4), [1.0] * 5, 2, 1)
    n = 4000
    for found in (
        by_samples(path, n, seed=0, batch_size=n),
        from_below(path, plan, n, seed=0, batch_size=n),
    ):
        assert found.value == pytest.approx(math.log(1 - found.without / n))
        assert abs(found.value - math.log(inside)) < 4 * found.error
    nowhere = latent_path(Affine(torch.eye(2), torch.zeros(2)), lambda x: x[:, 0] * math.nan, torch.zeros(()))
    found = from_below(nowhere, plan, 5, seed=0, batch_size=5)
    assert (found.value, found.error, found.without) == (-math.inf, math.inf, 5)
    starts = {"z0": torch.zeros(3, 1), "x": torch.zeros(3, 1)}
    assert from_above(nowhere, plan, starts, seed=0, batch_size=3).value == math.inf


def test_in_single_precision() -> None:
    product = Product(10, 4.0)
    single = Affine(product.matrix.float(), product.offset.float())
    centre = product.centre.float()
    path = latent_path(single, lambda x: 2 * (x - centre).square().sum(1), centre)
    plan = tuned(path, linear(100), stream(0))
    starts = {name: v.float() for name, v in product.exact(200).items()}
    found = both(path, plan, starts, 200)
    assert found.upper is not None
    assert (
        found.lower.value - 4 * found.lower.error < product.log_z < found.upper.value + 4 * found.upper.error
    )
    assert abs(found.gap) < 0.7
