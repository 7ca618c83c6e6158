"""Every part that is wrong in one way is caught, and told so in words."""

from __future__ import annotations

import pytest
from mutants import HEALTHY, MUTANTS, heavy, noisy
from mutants.declarations import DECLARATIONS, IMPORT, ZeroCrashes, part

from vaebm_toolkit import Component, testing
from vaebm_toolkit.testing import ContractError


@pytest.mark.parametrize("name", MUTANTS)
def test_is_caught(name: str) -> None:
    mutant = MUTANTS[name]
    check = getattr(testing, f"check_{mutant.kind}")
    with pytest.raises(ContractError) as caught:
        check(mutant.component())
    failed = {v.claim: v.detail for v in caught.value.verdicts if v.status == "failed"}
    assert mutant.claim in failed, f"{sorted(failed)}\n{caught.value}"
    assert mutant.words in failed[mutant.claim]
    assert mutant.words in str(caught.value)


@pytest.mark.parametrize("name", HEALTHY)
def test_what_they_are_made_of_is_healthy(name: str) -> None:
    part = HEALTHY[name]
    getattr(testing, f"check_{part.kind}")(part.component())


@pytest.mark.parametrize(
    ("component", "claim", "words"),
    [
        *DECLARATIONS.values(),
        (part(options=heavy.Options), IMPORT, "imports torch"),
        (part(options=noisy.Options), IMPORT, "prints 'loading the model zoo'"),
    ],
    ids=[*DECLARATIONS, "imports torch", "prints"],
)
def test_a_wrong_declaration_is_caught(component: Component, claim: str, words: str) -> None:
    with pytest.raises(ContractError) as caught:
        testing.check_component(component)
    failed = {v.claim: v.detail for v in caught.value.verdicts if v.status == "failed"}
    assert claim in failed, f"{sorted(failed)}\n{caught.value}"
    assert words in failed[claim]


def test_an_option_that_crashes_within_its_range_is_caught() -> None:
    with pytest.raises(ContractError, match="which its check allows"):
        testing.check_energy(part(options=ZeroCrashes, factory="mutants.energies:PerUnit"))
