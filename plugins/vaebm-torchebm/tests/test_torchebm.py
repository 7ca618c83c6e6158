"""torchebm's samplers on our densities: what they sample, by which noise, and nothing beside it."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.core import (
    RowStreams,
    State,
    rand,
    randn,
    run_chain,
    square_norm,
    standard_normal,
    stream,
)
from vaebm_torchebm.options import HmcOptions, LangevinOptions

pytest.importorskip("torchebm", reason="an optional dependency")

from vaebm_torchebm.draws import Draws
from vaebm_torchebm.sampler import Hmc, Langevin

GROUPS = {"z0": (3,), "z1": (2, 2), "x": (1, 4, 4)}
SIZE = 23
BOTH = [
    Langevin(LangevinOptions(steps=4, step_size=0.2)),
    Hmc(HmcOptions(steps=4, step_size=0.3, leapfrog_steps=3)),
]
each = pytest.mark.parametrize("sampler", BOTH, ids=["langevin", "hmc"])


def flat(state: State) -> Tensor:
    return torch.cat([v.flatten(1) for v in state.values()], 1)


def density(state: State) -> Tensor:
    """Any density whose groups interact."""
    v = flat(state)
    return -(0.5 * v.square().sum(1) + torch.sin(v.sum(1)))


def potential(v: Tensor) -> tuple[Tensor, Tensor]:
    """U and ∇U of that density at v, (B, D)."""
    value = 0.5 * v.square().sum(1) + torch.sin(v.sum(1))
    return value, v + torch.cos(v.sum(1, keepdim=True))


def test_a_langevin_step_is_the_equation(device):
    """v − η ∇U + s √(2η) ω."""
    sampler = Langevin(LangevinOptions(step_size=0.2, noise_scale=0.5))
    start = standard_normal(GROUPS, 5, stream(0, "start", device=device))
    end, diagnostics = sampler.step(start, density, stream(0, "noise", device=device))
    noise = randn((5, SIZE), stream(0, "noise", device=device))
    expected = flat(start) - 0.2 * potential(flat(start))[1] + 0.5 * 0.4**0.5 * noise
    torch.testing.assert_close(flat(end), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(diagnostics["log_prob"], density(start).mean())


def test_an_hmc_step_is_a_leapfrog_trajectory_that_is_accepted_or_not(device):
    """Leapfrog (Neal, 2011, eq. 5.18 to 5.20) from p ~ N(0, I), accepted with min(1, exp(H − H′))."""
    n, size, steps = 200, 0.55, 4  # so large that some are refused
    sampler = Hmc(HmcOptions(step_size=size, leapfrog_steps=steps))
    start = standard_normal(GROUPS, n, stream(0, "start", device=device))
    end, diagnostics = sampler.step(start, density, stream(0, "noise", device=device))
    rng = stream(0, "noise", device=device)
    p, uniform = randn((n, SIZE), rng), rand((n,), rng)
    v, before = flat(start), potential(flat(start))[0] + 0.5 * p.square().sum(1)
    for _ in range(steps):
        p = p - size / 2 * potential(v)[1]
        v = v + size * p
        p = p - size / 2 * potential(v)[1]
    after = potential(v)[0] + 0.5 * p.square().sum(1)
    accepted = uniform < (before - after).exp()
    assert 0.1 < accepted.double().mean() < 0.98
    expected = torch.where(accepted[:, None], v, flat(start))
    torch.testing.assert_close(flat(end), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(diagnostics["accepted"], accepted.to(expected).mean())


@pytest.mark.parametrize(
    ("sampler", "steps"),
    [
        (Langevin(LangevinOptions(step_size=0.2)), 60),
        (Langevin(LangevinOptions(step_size=0.5, noise_scale=0.7)), 40),
        (Hmc(HmcOptions(step_size=0.4, leapfrog_steps=3)), 40),
    ],
    ids=["langevin", "noise-scale", "hmc"],
)
@pytest.mark.parametrize("precision", [0.5, 2.0])
def test_a_gaussian_has_the_variance_that_is_claimed(sampler, steps, precision, device):
    """Each coordinate of many long chains on U = λ v² / 2, within 4 standard errors √(2/n)."""
    n, groups = 4000, {"z0": (3,), "x": (1, 2, 1)}
    start = standard_normal(groups, n, stream(0, "start", device=device))
    end = run_chain(
        sampler, start, lambda v: -0.5 * precision * square_norm(v), stream(1, device=device), steps=steps
    )
    claimed = sampler.stationary_variance(precision)
    found = flat(end).square().mean()
    assert abs(found / claimed - 1) < 4 * math.sqrt(2 / (5 * n))
    if isinstance(sampler, Langevin):
        assert abs(found * precision / sampler.noise_scale**2 - 1) > 4 * math.sqrt(2 / (5 * n)), "a bias"


def test_hmc_has_no_bias_on_a_density_that_is_no_gaussian(device):
    """E v² under exp(−v⁴) is Γ(3/4) / Γ(1/4), within 4 standard errors of independent chains."""
    n = 8000
    sampler = Hmc(HmcOptions(step_size=0.45, leapfrog_steps=3))
    start = {"x": 0.5 * randn((n, 1), stream(0, device=device))}
    end = run_chain(sampler, start, lambda v: -v["x"].pow(4).sum(1), stream(1, device=device), steps=60)
    squares = end["x"].square()
    error = float(squares.std()) / n**0.5
    assert abs(float(squares.mean()) - math.gamma(0.75) / math.gamma(0.25)) < 4 * error


@each
def test_same_stream_same_chain_and_the_global_one_untouched(sampler, device):
    start = standard_normal(GROUPS, 5, stream(0, "start", device=device))
    before = torch.get_rng_state()
    one, two, other = (run_chain(sampler, start, density, stream(s, device=device)) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(flat(one), flat(two))
    assert (flat(one) != flat(other)).any(1).all()


@each
def test_a_chain_does_not_depend_on_those_beside_it(sampler, device):
    """With one stream per row; and alone with a plain generator it is the same again."""

    def chain(n: int, rng: torch.Generator) -> Tensor:
        return flat(run_chain(sampler, standard_normal(GROUPS, n, rng), density, rng))

    few, many = (chain(n, RowStreams([stream(0, "row", i, device=device) for i in range(n)])) for n in (2, 7))
    torch.testing.assert_close(few, many[:2], rtol=0, atol=1e-13)
    for i in range(2):
        alone = chain(1, RowStreams([stream(0, "row", i, device=device)]))
        torch.testing.assert_close(alone[0], many[i], rtol=0, atol=1e-13)


@each
def test_start_is_left_alone_and_types_are_kept(sampler, device):
    start = {k: v.float() for k, v in standard_normal(GROUPS, 3, stream(0, device=device)).items()}
    before = {k: v.clone() for k, v in start.items()}
    end = run_chain(sampler, start, density, stream(1, device=device))
    for name, v in end.items():
        assert torch.equal(start[name], before[name])
        assert (v.shape, v.dtype, v.device) == (start[name].shape, torch.float32, start[name].device)


@each
def test_groups_of_different_precision_keep_theirs(sampler, device):
    start = standard_normal(GROUPS, 3, stream(0, device=device))
    start["z1"] = start["z1"].float()
    end = run_chain(sampler, start, density, stream(1, device=device))
    assert {k: v.dtype for k, v in end.items()} == {k: v.dtype for k, v in start.items()}
    assert (end["z1"] != start["z1"]).any()


@each
def test_diagnostics_are_scalars_on_the_device(sampler, device):
    _, found = sampler.step(
        standard_normal(GROUPS, 3, stream(0, device=device)), density, stream(1, device=device)
    )
    assert set(found) >= {"log_prob"}
    assert all(v.shape == () and v.device.type == device.type for v in found.values())


def test_a_trajectory_through_what_is_no_number_is_refused(device):
    """√(1 − v) has no gradient beyond 1: torchebm would go on from 0 there, and 0 is a likely place."""
    sampler = Hmc(HmcOptions(steps=30, step_size=0.5, leapfrog_steps=3))
    start = {"x": -1 + 0.3 * randn((500, 1), stream(0, device=device))}
    ends = []
    run_chain(
        sampler,
        start,
        lambda v: ((1 - v["x"]).sqrt() - v["x"].square()).sum(1),
        stream(1, device=device),
        observe=lambda k, state, diagnostics: ends.append(state["x"]),
    )
    path = torch.stack([start["x"], *ends])
    assert torch.isfinite(path).all()
    assert path.max() < 1
    assert not (path == 0).any()
    assert (path[1:] != path[:-1]).double().mean() > 0.5, "most are accepted"


def test_langevin_that_diverges_shows_it(device):
    """A number that is none stays in the chain, so that training stops with a reason."""
    sampler = Langevin(LangevinOptions(steps=2, step_size=0.2))
    start = {"x": torch.full((2, 1), 2.0, device=device)}
    end = run_chain(sampler, start, lambda v: (1 - v["x"]).sqrt().sum(1), stream(0, device=device))
    assert end["x"].isnan().all()


def test_draws_that_name_another_generator_are_left_alone(device):
    rng, other = stream(0, device=device), stream(1, device=device)
    with Draws(rng):
        found = torch.randn(3, generator=other, device=device)
    assert torch.equal(found, torch.randn(3, generator=stream(1, device=device), device=device))


def test_unknown_draws_are_refused(device):
    rng = stream(0, device=device)
    with Draws(rng), pytest.raises(NotImplementedError, match="randint"):
        torch.randint(0, 5, (3,), generator=rng, device=device)


def test_what_follows_from_options():
    assert LangevinOptions(noise_scale=0.5).temperature == 0.25
    assert Langevin(LangevinOptions(step_size=3.0)).stationary_variance(1.0) is None
    assert Hmc(HmcOptions(step_size=3.0)).stationary_variance(1.0) is None
    assert (Langevin(LangevinOptions()).reversible, Hmc(HmcOptions()).reversible) == (False, True)


def test_listing_the_plugin_does_not_import_torch():
    code = "import sys, vaebm_torchebm as p; list(p.vaebm_components()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
