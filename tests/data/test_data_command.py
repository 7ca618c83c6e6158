"""`vaebm data check` and `vaebm data preview`, as typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from vaebm_toolkit import RecipeError, ToolkitError
from vaebm_toolkit.cli import cli


def vaebm(*words: Any) -> Result:
    return CliRunner().invoke(cli, ["data", *map(str, words)])


def test_check_by_default_reads_the_digits() -> None:
    result = vaebm("check")
    assert result.exit_code == 0, result.output
    assert "train   1,437 examples" in result.output


def test_check_lists_every_bad_file(folder: Any, make_picture: Any) -> None:
    root = folder({f"{i:02}.png": b"" for i in range(15)} | {"good.png": make_picture(0)})
    result = vaebm("check", "--dataset", "image-folder", "--dataset.path", root, "--dataset.verify", "false")
    assert isinstance(result.exception, ToolkitError)
    assert all(f"{i:02}.png: not an image" in result.output for i in range(15))
    assert "15 of 16 images" in result.exception.message


def test_check_verifies_whatever_the_recipe_says(folder: Any, make_picture: Any) -> None:
    root = folder({f"{i}.png": make_picture(i) for i in range(9)} | {"x.png": b""})
    flags = ("--dataset.path", root, "--dataset.memory", "0", "--dataset.verify", "false")
    assert "x.png: not an image" in vaebm("check", "--dataset", "image-folder", *flags).output


@pytest.mark.parametrize(("flags", "shape"), [([], "3 × 6 × 8"), (["--dataset.size", "4"], "3 × 4 × 4")])
def test_options_are_flags(tmp_path: Path, flags: list[str], shape: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images)
    result = vaebm("check", "--dataset", "npz", "--dataset.path", tmp_path / "a.npz", *flags)
    assert result.exit_code == 0, result.output
    assert f"shape   {shape}" in result.output


def test_wrong_values_are_recipe_errors() -> None:
    result = vaebm("check", "--dataset", "npz", "--dataset.bits", "4")
    assert isinstance(result.exception, RecipeError)
    assert "dataset.bits" in result.exception.message
    misspelt = vaebm("check", "--dataset", "npz", "--dataset.pth", "x").exception
    assert isinstance(misspelt, RecipeError)
    assert "--dataset.path" in misspelt.fix


def test_preview_writes_a_picture(tmp_path: Path) -> None:
    out = tmp_path / "look.png"
    result = vaebm("preview", "--out", out, "-n", 4)
    assert result.exit_code == 0, result.output
    assert result.output.strip() == str(out)
    assert Image.open(out).size == (2 * 66 + 2,) * 2
