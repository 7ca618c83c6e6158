"""The page in a browser: it renders, complains about nothing, fits narrow screens, and obeys the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vaebm_toolkit.report.page import write_report

from .browser import Browser, executable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(executable() is None, reason="there is no Chromium here"),
]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    found = Browser(tmp_path / "profile")
    yield found
    found.close()


@pytest.fixture
def page(run: Path, plane: Path, tmp_path: Path) -> Path:
    return write_report([run, plane], tmp_path / "page.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_renders(browser: Browser, page: Path, width: int, scheme: str) -> None:
    browser.open(page, width, 900, scheme)
    assert browser.problems == []
    assert [r for r in browser.requests if not r.startswith(("file:", "data:"))] == []
    assert browser.value("document.documentElement.scrollWidth") <= width
    tables = "[...document.querySelectorAll('.metric .scroll')]"
    assert browser.value(f"{tables}.every(t => t.scrollWidth <= t.clientWidth)")
    assert browser.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    lightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"
    assert (browser.value(lightness) > 128) == (scheme == "light")
    assert browser.value(
        "[...document.querySelectorAll('.line')].every(p => getComputedStyle(p).stroke != 'none')"
    )
    beside = browser.value("getComputedStyle(document.querySelector('.contents')).position")
    assert (beside == "sticky") == (width == 1280)


def test_the_keyboard_is_enough(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.value("document.querySelector('.tile img').focus()")
    browser.press("ArrowRight")
    second = browser.value("document.activeElement.alt")
    assert second == browser.value("document.querySelectorAll('.tile img')[1].alt")
    browser.press("Enter")
    assert browser.value("document.getElementById('zoom').open")
    assert browser.value("document.querySelector('dialog p').textContent") == second
    browser.press("ArrowRight")
    assert browser.value("document.querySelector('dialog p').textContent") != second
    browser.press("Escape")
    assert not browser.value("document.getElementById('zoom').open")
    assert browser.problems == []


def test_it_is_readable_without_scripts(browser: Browser, page: Path) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page)
    text = browser.ask("DOMSnapshot.captureSnapshot", computedStyles=["display"])["strings"]
    assert any("From lowest to highest energy" in s for s in text)
    assert browser.problems == []


def test_it_prints(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.pdf().startswith(b"%PDF")
