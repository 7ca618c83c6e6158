"""`vaebm plugins check`: a table, and an exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaebm_toolkit import registry

from .conftest import Vaebm

LOGGER = """
from vaebm_toolkit import hookimpl

@hookimpl
def vaebm_step_end(run, step, metrics):
    {body}
"""


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    registry._installed.cache_clear()
    for name in [m for m in sys.modules if m.startswith("vaebm_file_")]:
        del sys.modules[name]


@pytest.fixture
def walls(vaebm: Vaebm) -> list[str]:
    """The flags for a small energy in a file."""
    assert vaebm("plugins", "new", "energy", "walls", "--single-file").code == 0
    return ["--plugin", "walls.py"]


def rows(out: str) -> dict[str, list[str]]:
    """claim -> [part, claim, verdict, found]"""
    head, *lines = [line.split("\t") for line in out.splitlines()]
    assert head == ["part", "claim", "verdict", "found"]
    assert all(len(line) == 4 for line in lines)
    return {line[1]: line for line in lines}


def test_a_part_that_keeps_its_contract(vaebm: Vaebm, walls: list[str]) -> None:
    called = vaebm("plugins", "check", "walls", *walls, "--shape", "1,8,8")
    assert called.code == 0
    found = rows(called.out)
    assert found["gradients are true"][:3] == ["energy/walls", "gradients are true", "passed"]
    assert "(1, 8, 8)" in found["builds"][3]
    assert "(2,)" not in found["builds"][3]
    assert "energy walls (walls.py): " in called.err


def test_a_part_that_does_not(vaebm: Vaebm, walls: list[str]) -> None:
    text = Path("walls.py").read_text()
    Path("walls.py").write_text(text.replace("return self.output(h)", "return self.output(h - h.mean(0))"))
    called = vaebm("plugins", "check", "energy/walls", *walls)
    assert called.code == 1
    broken = rows(called.out)["rows are independent"]
    assert broken[2] == "failed"
    assert "found" in broken[3]
    assert "fix" in broken[3]
    assert " failed, " in called.err


def test_options_are_flags(vaebm: Vaebm, walls: list[str]) -> None:
    assert vaebm("plugins", "check", "--energy.width", "3", "walls", *walls, "--shape", "2").code == 0
    assert "--energy.width VALUE" in vaebm("plugins", "check", "walls", *walls, "--help").out
    refused = vaebm("plugins", "check", "walls", *walls, "--energy.width", "0")
    assert refused.code == 2
    assert "energy.width: 0 is out of range" in refused.err
    unknown = vaebm("plugins", "check", "walls", *walls, "--energy.widht", "3")
    assert unknown.code == 2
    assert "--energy.width" in unknown.err


def test_one_kind_of_several(vaebm: Vaebm) -> None:
    called = vaebm("plugins", "check", "mlp", "--kind", "energy", "--energy.width", "4", "--shape", "2")
    assert called.code == 0
    assert {row[0] for row in rows(called.out).values()} == {"energy/mlp"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnt"], 'Did you mean "resnet"?'),
        (["resnet", "--kind", "enery"], 'Did you mean "energy"?'),
        (["resnet", "--kind", "sampler"], "It has: energy"),
        (["resnet", "--shape", "3,32"], "--shape 3,32: it is (C, H, W)"),
        (["resnet", "--shape", "big"], "whole number"),
        (["resnet", "--shape", "0"], "--shape 0"),
        (["resnet", "--seed", "-1"], "seed"),
        (["vaebm-igebm", "--energy.width", "3"], "--energy.width"),
        ([], "NAME"),
    ],
    ids=" ".join,
)
def test_what_is_refused(vaebm: Vaebm, arguments: list[str], words: str) -> None:
    called = vaebm("plugins", "check", *arguments)
    assert called.code == 2
    assert words in called.err


def test_a_whole_plugin(vaebm: Vaebm) -> None:
    Path("two.py").write_text(
        "from vaebm_toolkit import Component, hookimpl\n"
        "from vaebm_toolkit.core import EnergyFunction\n\n"
        "class Flat(EnergyFunction):\n"
        "    def forward(self, x):\n"
        "        return 0 * x.flatten(1).sum(1)\n\n"
        "def build(options, shape):\n"
        "    return Flat()\n\n"
        "@hookimpl\n"
        "def vaebm_components():\n"
        "    for name in ('flat', 'resnet'):\n"
        "        yield Component(kind='energy', name=name, factory=f'{__name__}:build', summary='flat')\n"
    )
    called = vaebm("plugins", "check", "two.py", "--plugin", "two.py")
    parts = [line.split("\t")[0] for line in called.out.splitlines()]
    assert list(dict.fromkeys(parts)) == ["part", "energy/flat", "energy/resnet"]
    assert "energy flat (two.py)" in called.err
    assert "already uses" in called.err


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("return None", 0, "returns nothing or a reason\tpassed"),
        ("return 'enough' if step > 20 else None", 0, "passed\ta reason to stop: enough"),
        ("return 3", 1, "returns nothing or a reason\tfailed\tfound it returns 3"),
        ("metrics.clear()", 1, "leaves the figures alone\tfailed"),
        ("metrics['energy_gap']", 1, "bears other figures\tfailed\tfound KeyError: 'energy_gap'"),
        ("(run.path / f'{run.stage}{step}').mkdir()", 1, "goes on after a break\tfailed"),
    ],
)
def test_a_logger(vaebm: Vaebm, body: str, code: int, words: str) -> None:
    Path("log.py").write_text(LOGGER.format(body=body))
    called = vaebm("plugins", "check", "log.py", "--plugin", "log.py")
    assert called.code == code
    assert words in called.out


def test_a_plugin_without_parts(vaebm: Vaebm) -> None:
    Path("empty.py").write_text("")
    called = vaebm("plugins", "check", "empty.py", "--plugin", "empty.py")
    assert called.code == 0
    assert "nothing to check" in called.err


def test_a_plugin_that_cannot_be_loaded(vaebm: Vaebm, tmp_path: Path, monkeypatch) -> None:
    info = tmp_path / "acme_sick-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: acme-sick\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vaebm_toolkit]\nacme-sick = acme_sick\n")
    (tmp_path / "acme_sick.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._installed.cache_clear()
    called = vaebm("plugins", "check", "acme_sick")
    assert called.code == 1
    assert "acme-sick: it fails to load" in called.err


def test_help_without_torch() -> None:
    for rest in (["--help"], ["resnet", "--help"]):
        code = (
            f"import sys; sys.argv = ['vaebm', 'plugins', 'check', *{rest!r}]\n"
            "from vaebm_toolkit.cli import main\nmain()\nassert 'torch' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "--shape" in done.stdout
    assert "--energy.width" in done.stdout
