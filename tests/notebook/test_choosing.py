"""Parts, recipes, and what may be said about them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vaebm_toolkit as vt


def test_parts() -> None:
    energies = vt.parts("energy")
    assert {"mlp", "resnet", "igebm"} <= set(energies)
    assert "residual energy network" in repr(energies)
    assert "width" in repr(energies["resnet"])
    assert repr(energies["resnet"]).startswith("energy resnet: ")
    everything = vt.parts()
    assert {"energy/mlp", "generator/mlp", "dataset/digits"} <= set(everything)
    assert len(everything) > 20
    assert "batch_size" in repr(vt.parts("trainer")["vaebm"]), "a trainer's stage is among its options"
    assert "<td" in energies._repr_html_()
    with pytest.raises(KeyError):
        energies["resnot"]
    with pytest.raises(vt.RecipeError, match='Did you mean "energy"'):
        vt.parts("enegry")


def test_recipes() -> None:
    assert "digits" in vt.recipes()
    assert "[dataset]" in vt.recipes()["digits"]
    assert "8 x 8" in repr(vt.recipes())


def test_html_is_escaped_and_rich_shows_brackets() -> None:
    from rich.console import Console

    from vaebm_toolkit.notebook.listing import Listing

    sly = Listing(["a<b"], [["<script>"], ["[red]"]], "x & y")
    assert "&lt;script&gt;" in sly._repr_html_()
    assert "<script>" not in sly._repr_html_()
    assert "x &amp; y" in sly._repr_html_()
    console = Console(record=True, width=60, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(sly)
    assert "[red]" in console.export_text()


def test_a_recipe_says_what_it_is() -> None:
    recipe = vt.resolve("digits", {"energy": {"width": 12}})
    assert "energy resnet" in repr(recipe)
    assert "width = 12" in str(recipe)


@pytest.mark.parametrize(
    ("recipe", "overrides", "says"),
    [
        ("digts", None, 'Did you mean "digits"'),
        ("digits", {"enery": {}}, 'Did you mean "energy"'),
        ("digits", {"energy": {"widht": 3}}, 'Did you mean "width"'),
        ("digits", {"energy": {"width": -3}}, "energy.width: -3"),
        ("digits", {"energy": {"width": "many"}}, "not a whole number"),
        ("digits", {"energy": 3}, "must be a table"),
        ("digits", {"energy": "resnot"}, 'Did you mean "resnet"'),
        ("digits", {"trainer": "wgan", "buffer": {"capacity": 9}}, "has no use for it"),
        ("nothing.toml", None, "no recipe file"),
        ({"sampler": {"steps": 2.5}}, None, "not a whole number"),
    ],
)
def test_what_is_wrong_is_said(recipe: Any, overrides: Any, says: str) -> None:
    with pytest.raises(vt.RecipeError, match=says):
        vt.resolve(recipe, overrides)


def test_a_run_and_a_file_are_recipes_too(run: Path, tmp_path: Path) -> None:
    stored = str(vt.load(run).recipe)
    file = tmp_path / "mine.toml"
    file.write_text(stored)
    assert str(vt.resolve(run)) == str(vt.resolve(file)) == str(vt.resolve(str(file))) == stored


def test_torch_is_imported_when_it_is_needed() -> None:
    code = (
        "import sys\n"
        "import vaebm_toolkit as vt\n"
        "assert {'load', 'run', 'untrained', 'Samples'} <= set(dir(vt))\n"
        "vt.parts(); vt.recipes(); str(vt.resolve('digits'))\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert not hasattr(vt, 'lode')\n"
        "vt.load\n"
        "assert 'torch' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        vt.lode  # noqa: B018
