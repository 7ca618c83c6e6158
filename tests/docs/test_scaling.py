"""The formulas behind docs/scaling-plan.md."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks/scaling.py"
spec = importlib.util.spec_from_file_location("scaling", FILE)
scaling = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scaling)

STAGE = scaling.Stage(batch=256, steps=10, fixed=1e9, each=1e11, gradient=5e8, norms=100, channels=10_000)


def test_a_ring_sends_nothing_alone_and_twice_the_gradient_at_most():
    assert scaling.ring_volume(5.0, 1) == 0
    volumes = [scaling.ring_volume(5.0, n) for n in (2, 4, 8, 1000)]
    assert volumes == sorted(volumes)
    assert scaling.ring_volume(5.0, 10**9) == pytest.approx(10.0)


def test_a_ring_of_two_by_hand():
    """Each of two sends half, and the sum of the other half: the whole once, in two hops."""
    assert scaling.ring_time(100.0, 2, 3, scaling.Link(50.0, 0.5)) == 100 / 50 + 2 * 3 * 0.5


def test_one_device_pays_for_arithmetic_alone():
    assert STAGE.seconds(1, rate=1e12) == pytest.approx((1e9 + 256e11) / 1e12)
    assert STAGE.efficiency(1) == 1


def test_free_exchange_and_no_fixed_part_scale_perfectly(monkeypatch):
    monkeypatch.setattr(scaling, "link", lambda n: scaling.Link(float("inf"), 0.0))
    stage = STAGE._replace(fixed=0.0)
    assert [stage.efficiency(n) for n in (2, 16, 256)] == pytest.approx([1, 1, 1])
    assert stage.most() == 256  # one example each
    assert STAGE._replace(batch=3).share(2) == 2


def test_faster_devices_scale_worse():
    assert STAGE.efficiency(64, rate=1e14) < STAGE.efficiency(64, rate=1e12)
    assert STAGE.most(rate=1e14) < STAGE.most(rate=1e12)
