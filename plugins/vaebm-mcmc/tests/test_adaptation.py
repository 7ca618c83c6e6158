"""Warm-up: each row finds its own step, and keeps it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from vaebm_mcmc import adaptation
from vaebm_mcmc.metropolis import STEP_SIZE
from vaebm_toolkit.core import State, standard_normal

from .conftest import Make, gaussian, hmc, mala, tempered

DIM, ROWS, WARMUP = 30, 200, 150


def stretched(state: State) -> Tensor:
    """Precisions from 1 to 100."""
    precision = torch.logspace(0, 2, DIM, device=state["z"].device)
    return -0.5 * (precision * state["z"].square()).sum(1)


@pytest.mark.parametrize("begin", [1e-3, 1.0])
@pytest.mark.parametrize(("make", "target"), [(mala, 0.57), (hmc, 0.8), (tempered, 0.8), (mala, 0.8)])
def test_acceptance_reaches_its_target(make: Make, target, begin, rng):
    """Within 0.03 of it, from steps 100 times too short or 10 times too long."""
    sampler = make(step_size=begin, warmup=WARMUP, target_accept=target)
    state = sampler.init(standard_normal({"z": (DIM,)}, ROWS, rng))
    accepted = []
    for k in range(WARMUP + 60):
        state, diagnostics = sampler.step(state, stretched, rng)
        if k >= WARMUP:
            accepted.append(diagnostics["acceptance"])
    assert float(torch.stack(accepted).mean()) == pytest.approx(target, abs=0.03)


def test_it_stops_after_warm_up(make, rng):
    sampler = make(step_size=0.1, warmup=6)
    state = sampler.init(standard_normal({"z": (DIM,)}, 20, rng))
    sizes = [state[STEP_SIZE]]
    for _ in range(12):
        state, _ = sampler.step(state, stretched, rng)
        sizes.append(state[STEP_SIZE])
    assert all((a != b).all() for a, b in pairwise(sizes[:7]))
    assert all(torch.equal(sizes[6], later) for later in sizes[7:])


def test_each_row_has_a_step_of_its_own(rng):
    """Where the precision is λ, η is as 1/λ: a row of 1 and a row of 10,000 side by side."""
    scale = torch.tensor([1.0, 1e4])

    def log_density(state: State) -> Tensor:
        return -0.5 * scale * state["z"].square().sum(1)

    sampler = mala(step_size=1e-2, warmup=300)
    state = sampler.init({"z": torch.zeros(2, DIM)})
    for _ in range(300):
        state, _ = sampler.step(state, log_density, rng)
    wide, narrow = state[STEP_SIZE]
    assert float(wide / narrow) == pytest.approx(1e4, rel=0.5)


def test_a_chain_begins_anew(make, rng):
    """The sampler itself remembers nothing: a second chain of it is like a first."""
    sampler = make(step_size=0.1, warmup=3)
    start = standard_normal({"z": (DIM,)}, 5, rng)
    fresh = sampler.init(start)
    state = sampler.init(start)
    for _ in range(5):
        state, _ = sampler.step(state, gaussian(1.0), rng)
    again = sampler.init(start)
    assert fresh.keys() == again.keys()
    assert all(torch.equal(fresh[k], again[k]) for k in fresh)


def test_one_update_is_the_equation():
    """log s + 3 t^−0.6 (α − α*), its average with weight t^−0.75, which is what the last of three leaves."""
    accepted = torch.tensor([[1.0, 0.0], [0.5, 0.9], [0.2, 0.6]])
    kept = adaptation.begin(torch.full((2,), 0.1))
    log_step = mean = torch.full((2,), 0.1).log()
    for t, acceptance in enumerate(accepted, start=1):
        kept = adaptation.update(kept, acceptance, target=0.6, warmup=3)
        log_step = log_step + 3 * t**-0.6 * (acceptance - 0.6)
        mean = t**-0.75 * log_step + (1 - t**-0.75) * mean
        torch.testing.assert_close(kept["step_size"], (log_step if t < 3 else mean).exp())
    after = adaptation.update(kept, torch.ones(2), target=0.6, warmup=3)
    assert all(torch.equal(after[k], kept[k]) for k in kept)
