"""The site builds without a warning, and needs nothing from elsewhere to be read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="pip install -r requirements-dev.txt")
ROOT = Path(__file__).parents[2]
LOADED = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=\"(https?:)?//[^\"]*\"")


@pytest.mark.slow
def test_site(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-c", "docs", "."]
    done = subprocess.run(
        [*build, "-d", tmp_path / "cache", tmp_path / "html"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "html").rglob("*.html"))
    assert tmp_path / "html/docs/index.html" in pages
    for page in pages:
        found = LOADED.search(page.read_text(encoding="utf-8"))
        assert found is None, f"{page.name} loads {found and found[0]}"
    for sheet in (tmp_path / "html/_static").rglob("*.css"):
        assert "url(http" not in sheet.read_text(encoding="utf-8"), sheet.name
