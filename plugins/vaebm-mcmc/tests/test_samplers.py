"""The three samplers as parts: options, determinism, independence of rows, what a state holds."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from vaebm_mcmc.hmc import LatentHmc
from vaebm_mcmc.mala import LatentMala
from vaebm_mcmc.metropolis import KEPT, LOG_PROB, SCORE
from vaebm_mcmc.options import HmcOptions, MalaOptions, TemperedOptions
from vaebm_mcmc.tempered import LatentTempered
from vaebm_toolkit.core import (
    RowStreams,
    State,
    run_chain,
    square_norm,
    standard_normal,
    stream,
    value_and_grad,
)
from vaebm_toolkit.core.state import rows

from .conftest import Make, hmc, mala, tempered

GROUPS = {"z0": (3,), "z1": (2, 2), "x": (1, 4, 4)}


def density(state: State) -> Tensor:
    """Any density whose groups interact."""
    total = torch.cat([v.flatten(1) for v in state.values()], 1)
    return -(0.5 * total.square().sum(1) + torch.sin(total.sum(1)))


def begin(n: int, device: torch.device) -> State:
    return standard_normal(GROUPS, n, stream(0, "start", device=device))


def test_defaults():
    """`latent-mala` is `latent-ld` with a test: the same steps of the same size."""
    o = MalaOptions()
    assert (o.steps, o.step_size, o.warmup, o.target, o.clamp) == (10, 8e-5, 5, "exact", None)
    assert HmcOptions().length == pytest.approx(0.05)
    assert TemperedOptions().gradients == 13


@pytest.mark.parametrize(
    ("sampler", "options"),
    [(LatentMala, MalaOptions), (LatentHmc, HmcOptions), (LatentTempered, TemperedOptions)],
)
def test_target_and_bounds_are_those_of_latent_ld(sampler, options):
    assert sampler(options()).space == "latent"
    assert sampler(options()).target == "exact"
    assert sampler(options(target="official")).target == "official"
    assert sampler(options(), (0.0, 1.0)).bounds is None
    assert sampler(options(clamp=True), (0.0, 1.0)).bounds == (0.0, 1.0)
    assert sampler(options(target="official"), (0.0, 1.0)).bounds == (0.0, 1.0)
    assert sampler(options(target="official", clamp=False), (0.0, 1.0)).bounds is None


OPTIONS = [
    (mala, {"steps": 3}), (mala, {"step_size": 0.2}), (mala, {"warmup": 2}), (mala, {"grad_clip": 0.1}),
    (mala, {"warmup": 2, "target_accept": 0.9}), (hmc, {"leapfrog": 3}), (hmc, {"jitter": 0.0}),
    (hmc, {"step_size": 0.2}), (tempered, {"rungs": 2}), (tempered, {"hottest": 3.0}),
]  # fmt: skip


@pytest.mark.parametrize(("make", "option"), OPTIONS, ids=[f"{m.__name__}-{o}" for m, o in OPTIONS])
def test_each_option_changes_the_chain(make: Make, option, device):
    usual = {"steps": 5, "step_size": 0.3}
    plain = {**usual, "warmup": option.get("warmup", 0)} if "target_accept" in option else usual
    one, other = (
        run_chain(make(**o), begin(8, device), density, stream(1, device=device))
        for o in (plain, {**usual, **option})
    )
    assert not any(torch.equal(one[k], other[k]) for k in GROUPS)


class TestKernel:
    def test_same_stream_same_chain(self, make, device):
        start, sampler = begin(5, device), make(steps=4, step_size=0.3, warmup=2)
        one, two, other = (
            run_chain(sampler, start, density, stream(seed, device=device)) for seed in (1, 1, 2)
        )
        assert all(torch.equal(one[k], two[k]) for k in GROUPS)
        assert not any(torch.equal(one[k], other[k]) for k in GROUPS)

    def test_start_is_left_alone(self, make, rng, device):
        start = begin(5, device)
        before = {k: v.clone() for k, v in start.items()}
        run_chain(make(steps=4, step_size=0.3, warmup=2), start, density, rng)
        assert all(torch.equal(start[k], before[k]) for k in GROUPS)

    def test_rows_are_independent(self, make, device):
        """With one stream per row, a chain is the same alone and among others, its step size too."""
        sampler = make(step_size=0.3, warmup=4)

        def chain(n: int) -> State:
            rng = RowStreams([stream(0, "row", i, device=device) for i in range(n)])
            state = sampler.init(standard_normal(GROUPS, n, rng))
            for _ in range(6):
                state, _ = sampler.step(state, density, rng)
            return state

        few, many = chain(2), chain(7)
        assert few.keys() == many.keys()
        for k in few:
            torch.testing.assert_close(few[k], many[k][:2], rtol=0, atol=1e-12)

    def test_rows_of_a_state_can_be_taken_apart(self, make, device):
        """Everything that is kept has one row per chain."""
        sampler = make(step_size=0.3, warmup=4)
        streams = [stream(0, "row", i, device=device) for i in range(5)]
        state = sampler.init(begin(5, device))
        state, _ = sampler.step(state, density, RowStreams(streams))
        part, _ = sampler.step(rows(state, slice(3, 5)), density, RowStreams(restarted(streams[3:])))
        whole, _ = sampler.step(state, density, RowStreams(restarted(streams)))
        for k in whole:
            torch.testing.assert_close(part[k], whole[k][3:], rtol=0, atol=1e-12)

    def test_a_state_holds_all_that_going_on_needs(self, make, device):
        """Stored after 3 of 6 steps and read again: the same end, bit for bit."""
        sampler, state = make(step_size=0.3, warmup=4), None
        ends = []
        for stop in (None, 3):
            state, rng = sampler.init(begin(4, device)), stream(2, device=device)
            for k in range(6):
                if k == stop:
                    state = {
                        name: v.detach().cpu().contiguous().clone().to(device) for name, v in state.items()
                    }
                    sampler = make(step_size=0.3, warmup=4)
                state, _ = sampler.step(state, density, rng)
            ends.append(state)
        assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])

    def test_a_position_is_the_groups_alone(self, make, rng, device):
        sampler, start = make(warmup=2), begin(3, device)
        state = sampler.init(start)
        assert all(torch.equal(sampler.position(state)[k], v) for k, v in start.items())
        state, _ = sampler.step(state, density, rng)
        assert {k: v.shape for k, v in sampler.position(state).items()} == {
            k: v.shape for k, v in start.items()
        }
        assert all(k in GROUPS or k.startswith(KEPT) for k in state)
        assert not any(v.requires_grad for v in state.values())
        with pytest.raises(ValueError, match="names that begin with '~' are taken"):
            sampler.init({f"{KEPT}z": start["z0"]})

    def test_diagnostics_are_scalars_on_the_device(self, make, rng, device):
        _, diagnostics = make(step_size=0.3).step(make(step_size=0.3).init(begin(5, device)), density, rng)
        assert {"log_prob", "acceptance", "step_size"} <= set(diagnostics)
        assert all(v.shape == () and v.device.type == device.type for v in diagnostics.values())
        assert 0 < diagnostics["acceptance"] < 1
        assert float(diagnostics["step_size"]) == pytest.approx(0.3)

    def test_float32_states_stay_float32(self, make, rng, device):
        sampler = make(warmup=2)
        state = sampler.init({k: v.float() for k, v in begin(2, device).items()})
        for _ in range(3):
            state, _ = sampler.step(state, lambda s: density(s).float(), rng)
            assert all(v.dtype == torch.float32 for v in state.values())


@pytest.mark.parametrize(
    ("sampler", "gradients"),
    [
        (mala(steps=7), 7 + 1),
        (hmc(steps=4, leapfrog=3), 4 * 3 + 1),
        (tempered(steps=4, leapfrog=3, rungs=2), 4 * (2 * 3 + 1) + 2),
    ],
    ids=["mala", "hmc", "tempered"],
)
def test_nothing_is_evaluated_twice(sampler, gradients, rng, device):
    """Gradients per chain: one per step on every rung, one per jump, and the start's."""
    seen = []

    def counted(state: State) -> Tensor:
        seen.append(len(state["x"]))
        return density(state)

    run_chain(sampler, begin(3, device), counted, rng)
    assert sum(seen) == 3 * gradients


@pytest.mark.parametrize("sampler", [mala(step_size=0.3), hmc(step_size=0.3)], ids=["mala", "hmc"])
def test_what_is_kept_belongs_to_the_position(sampler, rng, device):
    state = sampler.init(begin(20, device))
    for _ in range(4):
        state, diagnostics = sampler.step(state, density, rng)
    log_prob, score = value_and_grad(density, sampler.position(state))
    torch.testing.assert_close(state[LOG_PROB], log_prob)
    torch.testing.assert_close({k: state[SCORE + k] for k in GROUPS}, score)
    torch.testing.assert_close(diagnostics["log_prob"], log_prob.mean())


def test_acceptance_is_a_probability_before_the_draw(rng, device):
    """A proposal that cannot be worse is accepted with 1; a step of next to nothing as well."""
    _, flat = mala(step_size=5.0).step(
        mala(step_size=5.0).init(begin(5, device)), lambda s: 0 * square_norm(s), rng
    )
    assert flat["acceptance"] == 1
    _, tiny = hmc(step_size=1e-7).step(hmc(step_size=1e-7).init(begin(5, device)), density, rng)
    assert float(tiny["acceptance"]) == pytest.approx(1, abs=1e-6)


def restarted(streams: list[torch.Generator]) -> list[torch.Generator]:
    """Streams of the same device and state as these, which are left as they are."""
    return [torch.Generator(g.device).set_state(g.get_state()) for g in streams]


def test_listing_the_plugin_does_not_import_torch():
    code = "import sys, vaebm_mcmc as p; list(p.vaebm_components()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
