"""Every part that is wrong in one way is caught, and told so in words."""

from __future__ import annotations

import pytest
from mutants import HEALTHY, MUTANTS

from vaebm_toolkit import testing
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
