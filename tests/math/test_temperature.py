"""Temperatures of any generator, and paths through ε."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import pytest
import torch

from vaebm_toolkit.core import Decoded, Generator, State, spherical, standard_normal


class Affine(Generator):
    """z0 = ε_z0, x = 2 z0 + 3 ε_x"""

    groups: ClassVar[dict[str, tuple[int, ...]]] = {"z0": (2,), "x": (2,)}

    def decode(self, eps: State) -> Decoded:
        return Decoded(2 * eps["z0"] + 3 * eps["x"], torch.full((len(eps["x"]),), 2 * math.log(3)))


def test_temperatures_scale_variances_and_the_log_determinant(rng: torch.Generator) -> None:
    tempered = Affine().tempered([0.5], 0.1)
    eps = standard_normal(tempered.groups, 40_000, rng)
    x, log_det = tempered.decode(eps)
    variance = (2 * 0.5) ** 2 + (3 * 0.1) ** 2
    assert ((x.var(0) - variance).abs() < 4 * variance * (2 / 40_000) ** 0.5).all()
    assert log_det is not None
    torch.testing.assert_close(
        log_det[0], torch.tensor(2 * math.log(3) + 2 * math.log(0.5) + 2 * math.log(0.1))
    )
    torch.testing.assert_close(tempered.mean(eps), eps["z0"])


def test_at_temperature_zero_only_the_mean_is_left(rng: torch.Generator) -> None:
    tempered = Affine().tempered([0.0], 1.0)
    eps = standard_normal(tempered.groups, 5, rng)
    assert torch.equal(tempered.mean(eps), torch.zeros(5, 2))
    log_det = tempered.decode(eps).log_det
    assert log_det is not None
    assert (log_det == -math.inf).all()


def test_one_temperature_per_group_or_one_for_all() -> None:
    with pytest.raises(ValueError, match="3 temperatures for 1 latent group"):
        Affine().tempered([1.0, 1.0, 1.0], 1.0)


def test_great_circles_keep_the_norm(rng: torch.Generator) -> None:
    """Two points of the same norm: every point between has it, and steps are of equal length."""
    a, b = (torch.nn.functional.normalize(torch.randn(3, 50, generator=rng), dim=1) for _ in range(2))
    path = [spherical({"z": a}, {"z": b}, t)["z"] for t in torch.linspace(0, 1, 6).tolist()]
    torch.testing.assert_close(path[0], a)
    torch.testing.assert_close(path[-1], b)
    for point in path:
        torch.testing.assert_close(point.norm(dim=1), torch.ones(3))
    steps = torch.stack([(q - p).norm(dim=1) for p, q in pairwise(path)])
    torch.testing.assert_close(steps, steps[:1].expand_as(steps))


def test_equal_ends_are_every_point_between(rng: torch.Generator) -> None:
    a = {"z": torch.randn(2, 3, 4, 4, generator=rng)}
    torch.testing.assert_close(spherical(a, a, 0.3)["z"], a["z"])
