"""Links between the project's Markdown files lead somewhere, read as plain files."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    p for pattern in ("*.md", "docs/*.md", "docs/metrics/*.md", "docs/reference/*.md", "plugins/*/*.md",
                      "examples/*/*.md")
    for p in ROOT.glob(pattern)
)  # fmt: skip
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def prose(file: Path) -> str:
    """The text without what stands in fences and in indented blocks."""
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)


@functools.cache
def anchors(file: Path) -> set[str]:
    """Headings as code hosts and the site spell them: lower case, words joined by hyphens.

    >>> sorted(anchors(ROOT / "docs/versions.md"))[0]
    'run-directories'
    """
    headings = re.findall(r"^#+ (.+)$", prose(file), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links(file: Path) -> None:
    for link in LINK.findall(prose(file)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), f"{link}: there is no {target}"
        if anchor:
            assert anchor in anchors(target), f"{link}: {target.name} has no such heading"
