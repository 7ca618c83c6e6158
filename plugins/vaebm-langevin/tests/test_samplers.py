"""The two samplers as parts: options, determinism, independence of rows.

What they sample is tested in tests/math/test_langevin.py and test_targets.py.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from vaebm_langevin.kernel import DataLangevin, LatentLangevin
from vaebm_langevin.options import DataOptions, LatentOptions
from vaebm_toolkit.core import RowStreams, State, run_chain, standard_normal, stream
from vaebm_toolkit.options import derived_values

GROUPS = {"z0": (3,), "z1": (2, 2), "x": (1, 4, 4)}
BOTH = [
    LatentLangevin(LatentOptions(steps=4, step_size=0.3)),
    DataLangevin(DataOptions(steps=4, step_size=0.3)),
]


def density(state: State) -> Tensor:
    """Any density whose groups interact."""
    total = torch.cat([v.flatten(1) for v in state.values()], 1)
    return -(0.5 * total.square().sum(1) + torch.sin(total.sum(1)))


def test_published_defaults():
    """VAEBM on CIFAR-10: 10 steps of 8e-5. IGEBM: 60 steps of λ = 10, noise 0.005, clip 0.01."""
    latent, data = LatentOptions(), DataOptions()
    assert (latent.steps, latent.step_size, latent.noise, latent.grad_clip) == (10, 8e-5, 8e-5**0.5, None)
    assert (data.steps, data.step_size / 2, data.noise, data.grad_clip) == (60, 10, 0.005, 0.01)
    assert (latent.target, latent.clamp, data.clamp) == ("exact", None, True)


def test_implied_temperature():
    """noise² / η: 1 for VAEBM, 0.005² / 20 = 1.25e-6 for IGEBM."""
    assert LatentOptions().temperature == pytest.approx(1)
    assert DataOptions().temperature == pytest.approx(1.25e-6)
    assert DataOptions(noise_scale=None).temperature == pytest.approx(1)
    assert derived_values(DataOptions())["temperature"][0] == DataOptions().temperature


def test_each_sampler_names_its_space_and_target():
    assert [s.space for s in BOTH] == ["latent", "data"]
    assert LatentLangevin(LatentOptions(target="official")).target == "official"
    assert DataLangevin(DataOptions()).target == "exact"


def test_bounds_count_only_with_clamp():
    assert LatentLangevin(LatentOptions(), (0.0, 1.0)).bounds is None
    assert LatentLangevin(LatentOptions(clamp=True), (0.0, 1.0)).bounds == (0.0, 1.0)
    assert DataLangevin(DataOptions(), (0.0, 1.0)).bounds == (0.0, 1.0)
    assert LatentLangevin(LatentOptions(target="official"), (0.0, 1.0)).bounds == (0.0, 1.0)
    assert LatentLangevin(LatentOptions(target="official", clamp=False), (0.0, 1.0)).bounds is None
    assert DataLangevin(DataOptions(clamp=False), (0.0, 1.0)).bounds is None


@pytest.mark.parametrize("sampler", BOTH)
class TestKernel:
    def test_one_step_is_the_equation(self, sampler, device):
        """v − (η/2) ∇U(v) + √η ω for every group, or s in place of √η."""
        start = standard_normal(GROUPS, 5, stream(0, "start", device=device))
        position = {k: v.clone().requires_grad_() for k, v in start.items()}
        potential = torch.autograd.grad(-density(position).sum(), list(position.values()))
        noise = standard_normal(GROUPS, 5, stream(0, "noise", device=device))
        clip = sampler.grad_clip or float("inf")
        end, _ = sampler.step(start, density, stream(0, "noise", device=device))
        for k, gradient in zip(GROUPS, potential, strict=True):
            expected = start[k] - 0.15 * gradient.clamp(-clip, clip) + sampler.noise * noise[k]
            torch.testing.assert_close(end[k], expected, rtol=1e-13, atol=1e-13)

    def test_same_stream_same_chain(self, sampler, device):
        start = standard_normal(GROUPS, 5, stream(0, "start", device=device))
        one, two, other = (
            run_chain(sampler, start, density, stream(seed, device=device)) for seed in (1, 1, 2)
        )
        assert all(torch.equal(one[k], two[k]) for k in GROUPS)
        assert not any(torch.equal(one[k], other[k]) for k in GROUPS)

    def test_start_is_left_alone(self, sampler, rng):
        start = standard_normal(GROUPS, 5, rng)
        before = {k: v.clone() for k, v in start.items()}
        run_chain(sampler, start, density, rng)
        assert all(torch.equal(start[k], before[k]) for k in GROUPS)

    def test_rows_are_independent(self, sampler, device):
        """With one stream per row, a chain is the same alone and among others."""

        def chain(n: int) -> State:
            rng = RowStreams([stream(0, "row", i, device=device) for i in range(n)])
            return run_chain(sampler, standard_normal(GROUPS, n, rng), density, rng)

        few, many = chain(2), chain(7)
        for k in GROUPS:
            torch.testing.assert_close(few[k], many[k][:2], rtol=0, atol=1e-14)

    def test_diagnostics_are_scalars_on_the_device(self, sampler, rng, device):
        start = standard_normal(GROUPS, 5, rng)
        _, diagnostics = sampler.step(start, density, rng)
        assert set(diagnostics) == {"log_prob", "grad_norm"}
        assert all(v.shape == () and v.device.type == device.type for v in diagnostics.values())
        torch.testing.assert_close(diagnostics["log_prob"], density(start).mean())

    def test_float32_states_stay_float32(self, sampler, rng):
        start = {k: v.float() for k, v in standard_normal(GROUPS, 2, rng).items()}
        assert all(v.dtype == torch.float32 for v in run_chain(sampler, start, density, rng).values())


def test_listing_the_plugin_does_not_import_torch():
    code = "import sys, vaebm_langevin as p; list(p.vaebm_components()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
