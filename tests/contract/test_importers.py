"""Importers of other people's plugins: everything but reading the tensors is done for them."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vaebm_toolkit import Component
from vaebm_toolkit.core import Imported
from vaebm_toolkit.errors import RunError
from vaebm_toolkit.registry import Registered, Registry, installed
from vaebm_toolkit.training.importing import plan_import, write_import
from vaebm_toolkit.training.rundir import RunDirectory

Read = Callable[..., Any]


@pytest.fixture
def dtype() -> torch.dtype:
    return torch.float32


@pytest.fixture
def importer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Read], tuple[Registry, Registered]]:
    """A registry in which a stranger's importer calls the given function."""

    def make(read: Read) -> tuple[Registry, Registered]:
        module = types.ModuleType("stranger")
        module.read = read  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "stranger", module)
        theirs = Registered(Component(kind="importer", name="theirs", factory="stranger:read"), "acme", "1.0")
        known = installed()
        return Registry({**known.parts, ("importer", "theirs"): theirs}, dict(known.shadowed)), theirs

    return make


def mlp(options: None, *, checkpoint: Any, file: Path) -> Imported:
    tables = {"dataset": {"name": "gaussians25"}, "energy": {"name": "mlp", "width": 4, "depth": 1},
              "trainer": {"name": "ebm", "steps": 5}}  # fmt: skip
    return Imported(tables, (2,), {"energy": checkpoint}, bounds=None)


def mlp_state() -> dict[str, torch.Tensor]:
    from vaebm_toolkit import recipe
    from vaebm_toolkit.building import build_energy

    tables = mlp(None, checkpoint={}, file=Path()).tables
    energy = build_energy(recipe.resolve(tables, installed()), (2,))
    assert energy is not None
    return energy.state_dict()


def test_a_strangers_importer_returns_tensors_and_tables(importer, tmp_path: Path) -> None:
    state = mlp_state()
    torch.save(state, tmp_path / "x.pt")
    registry, theirs = importer(mlp)
    plan = plan_import(registry, theirs, None, tmp_path / "x.pt")
    run = write_import(plan, tmp_path / "r", ["vaebm"], torch.device("cpu"))
    kept = RunDirectory.open(run.path, registry).networks("train")["energy"]
    assert all(torch.equal(kept[name], state[name]) for name in state)
    assert run.done("train")["plugin"] == "acme 1.0"


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda *a, **k: k["checkpoint"]["gone"], 'importer "theirs" of acme fails on'),
        (lambda *a, **k: {"x": 1}, "returned dict"),
        (lambda *a, **k: Imported({"energie": {}}, (2,), {}), "does not make a recipe"),
        (lambda *a, **k: Imported({"trainer": {"name": "none"}}, (2,), {"energy": {}}), "no such part"),
        (lambda *a, **k: Imported({"trainer": {"name": "none"}}, (2,), {"critic": {}}), "no such part"),
        (lambda *a, **k: mlp(*a, **k)._replace(networks={"energy": {}}), "missing"),
    ],
    ids=["raises", "returns", "recipe", "stage", "network", "tensors"],
)
def test_a_strangers_mistake_is_named(importer, tmp_path: Path, read: Read, words: str) -> None:
    torch.save(mlp_state(), tmp_path / "x.pt")
    registry, theirs = importer(read)
    with pytest.raises(RunError, match=words):
        plan_import(registry, theirs, None, tmp_path / "x.pt")
