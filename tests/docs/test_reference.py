"""The reference says what the code says, and leaves nothing public out."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaebm_toolkit import hookspecs

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"
MODULES = ("vaebm_toolkit", "vaebm_toolkit.core", "vaebm_toolkit.testing")
NAMES = [(m, n) for m in MODULES for n in importlib.import_module(m).__all__]


def text() -> str:
    return "\n".join(p.read_text(encoding="utf-8") for p in sorted(REFERENCE.glob("*.md")))


def test_generated_pages_are_what_the_code_says() -> None:
    """On a terminal of another width, and with a plugin file in the environment, too."""
    environment = {**os.environ, "COLUMNS": "43", "VAEBM_PLUGINS": "no-such-file.py"}
    done = subprocess.run(
        [sys.executable, ROOT / "docs/generate", "--check"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("hook", [n for n in vars(hookspecs) if n.startswith("vaebm_")])
def test_every_hook_has_a_heading(hook: str) -> None:
    assert f"### `{hook}`" in text()
    assert getattr(hookspecs, hook).__doc__


@pytest.mark.parametrize(("module", "name"), NAMES, ids=str)
def test_every_public_name_has_a_heading_and_words(module: str, name: str) -> None:
    _, heading, rest = text().partition(f"\n### `{name}`\n")
    assert heading, f"{module}.{name} is missing from docs/reference; make it anew: python docs/generate"
    entry = rest.partition("\n#")[0]
    outside = "".join(entry.split("```")[::2])
    assert outside.strip(), f"{module}.{name} has no docstring"
