"""The example does what its README says."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from vaebm_toolkit.registry import discover, load_factory

SOURCE = str(Path(__file__).parent.parent / "src")


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch):
    """The part as found through its entry point, whether or not it is installed."""
    monkeypatch.syspath_prepend(SOURCE)
    registry = discover([EntryPoint("vaebm-box", "vaebm_box", "vaebm_toolkit")])
    assert not registry.problems
    return registry.find("energy", "box")


def test_its_walls(box) -> None:
    energy = load_factory(box)(box.component.options(side=8.0, stiffness=2.0), shape=(2,))
    x = torch.tensor([[0.0, 0.0], [4.0, -4.0], [5.0, 0.0], [5.0, -6.0]])
    torch.testing.assert_close(energy(x), torch.tensor([0.0, 0.0, 2.0, 10.0]))


def test_its_entry_module_is_torch_free(box) -> None:
    import subprocess

    code = f"import sys; sys.path.insert(0, {SOURCE!r}); import vaebm_box; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
