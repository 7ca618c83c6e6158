"""`vaebm cite`: BibTeX for exactly the parts that a run used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vaebm_toolkit import Component
from vaebm_toolkit.citation import bibliography, entries, papers
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.registry import OWN, Registered, installed

from .conftest import Vaebm


def keys(text: str) -> list[str]:
    return re.findall(r"^@\w+\{([^,]+),", text, flags=re.MULTILINE)


def test_a_runs_bibliography(vaebm: Vaebm, finished: Path) -> None:
    called = vaebm("cite", finished)
    assert called.code == 0, called.err
    assert keys(called.out) == [
        "vaebm_toolkit", "alpaydin1998digits", "vahdat2020nvae", "xiao2021vaebm", "tieleman2008pcd",
        "heusel2017ttur",
    ]  # fmt: skip
    assert "% sampler latent-ld (vaebm-langevin 0.1.0)" in called.out


def test_a_run_that_is_none(vaebm: Vaebm) -> None:
    called = vaebm("cite", "nowhere")
    assert called.code == 1
    assert "does not exist" in called.err


def test_every_first_party_part_can_be_cited() -> None:
    for registered in installed().parts.values():
        if registered.distribution in OWN:
            assert bibliography([registered]).startswith("% vaebm_toolkit")


def test_papers_are_whole_and_once() -> None:
    text = (Path(__file__).parents[2] / "vaebm_toolkit" / "papers.bib").read_text()
    assert len(papers()) == text.count("@") == len(re.findall(r"^\}", text, flags=re.MULTILINE))
    for entry in papers().values():
        assert entry.count("{") == entry.count("}")
        assert {"title", "year"} <= set(re.findall(r"^\s+(\w+)\s*=", entry, flags=re.MULTILINE))


def part(**given: str) -> Registered:
    return Registered(Component(kind="energy", name="x", factory="m:f", **given), "acme-x", "1.2")


def test_entries_of_others() -> None:
    own = "@article{a1,\n  title = {A {B}}\n}\n\n@misc{b2,\n  title = {C}\n}"
    assert keys(bibliography([part(bibtex=own), part(bibtex="a" and own)])) == ["vaebm_toolkit", "a1", "b2"]
    made = bibliography([part(summary="an energy", cite="Someone, 2020")])
    assert "@misc{acme_x_energy_x," in made
    assert "version = {1.2}" in made
    assert "note    = {Someone, 2020}" in made
    with pytest.raises(ToolkitError, match="Did you mean"):
        entries("xiao2021vaebn", "energy x")
    with pytest.raises(ToolkitError, match="no whole entry"):
        entries("@misc{x, title={y}", "energy x")
