"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "vaebm_toolkit", *sorted(p.parent for p in ROOT.glob("plugins/*/src/*/__init__.py"))]
SCRIPTS = [*ROOT.glob("docs/generate/*.py"), *ROOT.glob("benchmarks/*.py"), *ROOT.glob("tests/**/*.py")]


def with_examples(files: list[Path]) -> list[Path]:
    return sorted(f for f in files if f != Path(__file__) and ">>> " in f.read_text(encoding="utf-8"))


MODULES = [
    ".".join(f.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for f in with_examples(list(package.rglob("*.py")))
]


def run(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried, f"{module.__name__} has examples that doctest does not see"
    assert not failed, "see the output above"


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    run(importlib.import_module(name))


@pytest.mark.parametrize("file", with_examples(SCRIPTS), ids=lambda f: str(f.relative_to(ROOT)))
def test_scripts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(file.parent))
    spec = importlib.util.spec_from_file_location(f"docs_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run(module)
    for name, loaded in list(sys.modules.items()):  # a script's neighbours are found by bare names
        if Path(getattr(loaded, "__file__", None) or "").parent == file.parent and "." not in name:
            del sys.modules[name]
