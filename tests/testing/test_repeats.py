"""No verdict hangs on a seed: healthy parts pass and broken ones are caught with every one.

REPEATS=50 pytest tests/testing/test_repeats.py runs as many seeds.
"""

from __future__ import annotations

import os

import pytest
from mutants import HEALTHY, MUTANTS

from vaebm_toolkit.registry import OWN, discover
from vaebm_toolkit.testing.checking import found
from vaebm_toolkit.testing.claims import Claims, judge
from vaebm_toolkit.testing.generator import CLAIMS as GENERATOR
from vaebm_toolkit.testing.generator import GeneratorSubject
from vaebm_toolkit.testing.laws import LAW
from vaebm_toolkit.testing.sampler import SamplerSubject
from vaebm_toolkit.testing.subject import settings

REPEATS = int(os.environ.get("REPEATS", "1"))
DRAWN = (
    "elbo has a term for each group", "both bounds agree", "weights give the density",
    "units add up to their group",
)  # fmt: skip
STATISTICAL = {
    "sampler": (SamplerSubject, LAW),
    "generator": (GeneratorSubject, Claims(c for c in GENERATOR if c.name in DRAWN)),
}
"""Kinds with claims that are measured in standard errors, and these claims."""
OURS = {
    f"{kind}/{name}": part
    for (kind, name), part in discover().parts.items()
    if part.distribution in OWN and kind in STATISTICAL
}
SOUND = OURS | {n: found(m.component(), None) for n, m in HEALTHY.items() if m.kind in STATISTICAL}
BROKEN = {
    n: m for n, m in MUTANTS.items() if m.claim in {c.name for _, cs in STATISTICAL.values() for c in cs}
}


def failed(part, seed: int) -> dict[str, str]:
    subject, claims = STATISTICAL[part.component.kind]
    with settings(seed=seed):
        verdicts = judge(claims, subject(part, seed=seed))
    return {v.claim: v.detail for v in verdicts if v.status == "failed"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_a_healthy_part_passes_with_every_seed(name: str) -> None:
    for seed in range(1, 1 + REPEATS):
        assert not failed(SOUND[name], seed), seed


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_part_is_caught_with_every_seed(name: str) -> None:
    part = found(BROKEN[name].component(), None)
    for seed in range(1, 1 + REPEATS):
        assert BROKEN[name].claim in failed(part, seed), seed
