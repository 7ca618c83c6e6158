"""Help, lists and what they cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vaebm_toolkit.cli import COMMANDS

from .conftest import Vaebm

WITHOUT_TORCH = [
    ["--help"],
    ["run", "--help"],
    ["run", "--generator", "nvae", "--sampler", "latent-ld", "--help"],
    ["plugins", "list"],
    ["plugins", "show", "latent-ld"],
    ["recipes", "list"],
    ["recipes", "show", "digits"],
    ["sample", "--help"],
    ["data", "--help"],
    ["import", "--help"],
    ["import", "nvae", "--help"],
    ["plugins", "show", "importer/nvae"],
]


@pytest.mark.parametrize("args", WITHOUT_TORCH, ids=" ".join)
def test_torch_is_not_imported(args: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['vaebm', *{args!r}]\n"
        "from vaebm_toolkit.cli import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "assert 'numpy' not in sys.modules, 'numpy was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_has_help(vaebm: Vaebm) -> None:
    listing = vaebm("--help").out
    for name in COMMANDS:
        assert name in listing
        assert "Usage" in vaebm(name, "--help").out


def test_help_shows_the_options_of_named_parts(vaebm: Vaebm) -> None:
    assert "--sampler.step-size VALUE" not in vaebm("run", "--help").out
    assert "--sampler.step-size VALUE" in vaebm("run", "--sampler", "latent-ld", "--help").out


def test_unknown_command(vaebm: Vaebm) -> None:
    called = vaebm("rum")
    assert called.code == 2
    assert "rum" in called.err


def test_plugins_show_says_what_follows_from_the_options(vaebm: Vaebm) -> None:
    shown = vaebm("plugins", "show", "data-ld").out
    assert "implied temperature" in shown
    assert "1.25e-06" in shown  # 0.005² / 20
    assert "--sampler.grad-clip\tnumber | none\t0.01" in shown
    assert vaebm("plugins", "show", "energy/mlp").out.startswith("energy mlp")
    assert "Did you mean" in vaebm("plugins", "show", "latent-l").err
    assert vaebm("plugins", "list", "sampelr").code == 2
