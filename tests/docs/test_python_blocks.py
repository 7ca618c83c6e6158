"""Every python block of the page about notebooks and of the README runs, in the order it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import vaebm_toolkit as vt

ROOT = Path(__file__).parents[2]
SHORT: dict[str, dict[str, Any]] = {
    "dataset": {"limit": 200}, "generator": {"channels": 4, "groups": 1, "latent": 2},
    "pretrain": {"epochs": 1, "bn_passes": 1}, "trainer": {"steps": 4, "batch_size": 16},
    "sampling": {"steps": 2}, "evaluate": {"samples": 20},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in it."""
    folder = tmp_path_factory.mktemp("notebook")
    vt.run("digits", SHORT, out=folder / "runs" / "0001-digits")
    return folder


@pytest.fixture
def dtype() -> torch.dtype:
    """As in a notebook."""
    return torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_python_blocks(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    run = vt.run

    def shortened(recipe: Any, overrides: dict[str, dict[str, Any]], **given: Any) -> vt.Model:
        tables = {t: {**SHORT.get(t, {}), **overrides.get(t, {})} for t in {**SHORT, **overrides}}
        return run(recipe, tables, **given)

    monkeypatch.setattr(vt, "run", shortened)
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
