"""The fixtures as a plugin's author meets them, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = """
import sys

import pytest

assert "torch" not in sys.modules, "fixtures import it when they are used"
assert pytest.__version__


@pytest.mark.parametrize("vaebm_shape", [(2,), (3, 8, 8)])
def test_tiny_parts_fit_each_other(vaebm_tiny_energy, vaebm_tiny_generator, vaebm_tiny_dataset, vaebm_rng):
    import torch

    x = vaebm_tiny_dataset.train.batch(torch.arange(4))
    assert vaebm_tiny_energy(x).shape == (4,)
    assert vaebm_tiny_generator.elbo(x, vaebm_rng).kl.shape == (4, 2)


def test_only_what_is_asked_for_is_installed(vaebm_registry):
    from vaebm_toolkit.registry import OWN, installed

    registry = vaebm_registry()
    assert {r.distribution for r in registry.parts.values()} <= set(OWN)
    assert installed() is registry
"""


def test_fixtures(tmp_path: Path) -> None:
    file = tmp_path / "test_mine.py"
    file.write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    listed = subprocess.run([*command, "--fixtures"], capture_output=True, text=True, cwd=tmp_path).stdout
    if "vaebm_registry" not in listed:  # not installed as a plugin of pytest: name it
        command[3:3] = ["-p", "vaebm_toolkit.testing.pytest_plugin"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_small_networks_keep_their_contracts() -> None:
    from vaebm_toolkit import Component
    from vaebm_toolkit.testing import check_energy, check_generator

    def small(kind: str) -> Component:
        factory = f"mutants.small:{kind}"
        return Component(kind=kind, name="tiny", factory=factory, summary="to try other parts with")

    check_energy(small("energy"))
    check_generator(small("generator"))
