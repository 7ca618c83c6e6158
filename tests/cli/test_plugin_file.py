"""Parts in a single file, given by `--plugin FILE.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import TINY, Vaebm

ENERGY = """
import torch
from vaebm_toolkit import Component, frozen, gt, hookimpl, opt
from vaebm_toolkit.core import EnergyFunction

vaebm_api = 1

@frozen
class Options:
    scale: float = opt(2.0, "initial scale", check=gt(0))

class Quadratic(EnergyFunction):
    def __init__(self, options, shape):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(options.scale))

    def forward(self, x):
        return self.scale * (x - 0.5).square().flatten(1).mean(1)

def build(options, shape):
    return Quadratic(options, shape)

@hookimpl
def vaebm_components():
    return [Component(kind="energy", name="mine", factory=f"{__name__}:build", options=Options)]
"""
SHORT = [f for pair in zip(TINY[::2], TINY[1::2], strict=True) if "energy" not in pair[0] for f in pair]


@pytest.fixture
def run(vaebm: Vaebm) -> Path:
    Path("my_energy.py").write_text(ENERGY)
    called = vaebm(
        "run", "--plugin", "./my_energy.py", "--energy", "mine", "--energy.scale", "3", *SHORT, "--out", "r"
    )
    assert called.code == 0, called.err
    return Path("r")


def test_a_run_with_a_part_in_a_file(vaebm: Vaebm, run: Path) -> None:
    assert (run / "plugins" / "my_energy.py").read_text() == ENERGY
    parts = json.loads((run / "environment.json").read_text())["parts"]
    assert {"kind": "energy", "name": "mine", "distribution": "my_energy.py", "version": ""} in parts
    assert vaebm("sample", "r", "--plugin", "my_energy.py", "--out", "x.npz").code == 0
    cited = vaebm("cite", "r", "--plugin=my_energy.py")
    assert "@misc{my_energy_py_energy_mine," in cited.out
    assert vaebm("plugins", "show", "mine", "--plugin", "my_energy.py").code == 0


def test_code_in_a_run_is_never_run_unasked(vaebm: Vaebm, run: Path) -> None:
    called = vaebm("sample", "r", "--out", "x.npz")
    assert called.code == 1
    assert "--plugin r/plugins/my_energy.py" in called.err
    copy = str(run / "plugins" / "my_energy.py")
    Path("my_energy.py").unlink()
    assert vaebm("sample", "r", "--plugin", copy, "--out", "x.npz").code == 0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\ny = undefined\n", "my_energy.py:2: NameError"),
        ("def (:", "my_energy.py:1: SyntaxError"),
        ("raise SystemExit(3)", "my_energy.py:1: SystemExit"),
        ("vaebm_api = 9", "too new"),
        ("from vaebm_toolkit import hookimpl\n@hookimpl\ndef vaebm_component(): pass", "does not exist"),
    ],
)
def test_a_file_that_cannot_be_loaded(vaebm: Vaebm, source: str, words: str) -> None:
    Path("my_energy.py").write_text(source)
    called = vaebm("run", "--plugin", "my_energy.py", "--dry-run")
    assert called.code == 2
    assert words in called.err
    assert "Traceback" not in called.err


def test_a_file_that_is_not_there(vaebm: Vaebm) -> None:
    called = vaebm("plugins", "list", "--plugin", "gone.py")
    assert called.code == 2
    assert "gone.py: it does not exist" in called.err
    assert "vaebm plugins new" in called.err


def test_two_files_of_one_name(vaebm: Vaebm) -> None:
    Path("b").mkdir()
    Path("parts.py").write_text(ENERGY)
    Path("b/parts.py").write_text(ENERGY)
    assert vaebm("plugins", "list", "--plugin", "parts.py", "--plugin", "./parts.py").code == 0
    called = vaebm("plugins", "list", "--plugin", "parts.py", "--plugin", "b/parts.py")
    assert called.code == 2
    assert "another file is called parts.py" in called.err
