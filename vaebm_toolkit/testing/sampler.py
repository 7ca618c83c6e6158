"""Claims about samplers: their steps, and the laws of their chains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from vaebm_toolkit.core import Sampler, run_chain
from vaebm_toolkit.testing.claims import Claims
from vaebm_toolkit.testing.kernels import KERNEL, STEPS, Hills, SamplerSubject, groups_of
from vaebm_toolkit.testing.laws import LAW

CLAIMS = Claims([*KERNEL, *LAW])
SUBJECT = SamplerSubject


def places(s: SamplerSubject) -> list[Any]:
    """Where options are looked at: without bounds, and with."""
    return [None, (0.0, 1.0)]


def fingerprint(s: SamplerSubject, table: Mapping[str, Any], bounds: Any) -> Iterator[Any]:
    """What can be observed of a sampler with these options, cheapest first."""
    sampler: Sampler = s.build(table, bounds=bounds)
    yield sampler.space, sampler.steps, sampler.target, sampler.bounds, sampler.reversible
    yield [sampler.stationary_variance(precision) for precision in (1.0, 1e2, 1e4)]
    groups = groups_of(sampler)
    for precision in (1.0, 1e2, 1e4):
        seen: list[Any] = []
        rng = s.rng("options", int(precision))
        start = {
            k: 3 * torch.randn((4, *shape), generator=rng) / precision**0.5 for k, shape in groups.items()
        }
        end = run_chain(
            sampler, start, Hills(precision, groups), rng, STEPS,
            observe=lambda k, state, diagnostics, seen=seen: seen.append(diagnostics),
        )  # fmt: skip
        yield end, seen
