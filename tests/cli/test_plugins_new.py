"""`vaebm plugins new`: what is written, what is refused. That it works is tested in test_templates.py."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vaebm_toolkit.scaffold.compose import compose
from vaebm_toolkit.scaffold.rendering import KINDS, LICENCES

from .conftest import Vaebm

PACKAGE = [
    ".gitignore", "LICENSE", "README.md", "pyproject.toml",
    "src/vaebm_soft_walls/__init__.py", "src/vaebm_soft_walls/energy.py", "tests/test_contract.py",
]  # fmt: skip


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_package(vaebm: Vaebm) -> None:
    called = vaebm("plugins", "new", "energy", "soft-walls", "--author", 'Ada "A" Example <ada@example.org>')
    assert called.code == 0
    assert files(Path("vaebm-soft-walls")) == PACKAGE
    assert "pip install -e vaebm-soft-walls\n  vaebm plugins check soft-walls\n  vaebm run" in called.out
    project = tomllib.loads(Path("vaebm-soft-walls/pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {"vaebm_toolkit": {"vaebm-soft-walls": "vaebm_soft_walls"}}
    assert project["license"] == "MIT"
    assert project["authors"] == [{"name": 'Ada "A" Example', "email": "ada@example.org"}]
    assert 'Ada "A" Example' in Path("vaebm-soft-walls/LICENSE").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_to_fill_in(vaebm: Vaebm, kind: str) -> None:
    assert vaebm("plugins", "new", kind, "mine").code == 0
    for path in map(Path, files(Path())):
        text = path.read_text()
        assert not [word for word in text.replace("$ ", "").split() if word.startswith("$")]
        assert "\n\n\n\n" not in text
        assert text.endswith("\n")
    readme = Path("vaebm-mine/README.md").read_text()
    assert "pip install -e ." in readme
    assert "pytest" in readme
    assert f"src/vaebm_mine/{kind}.py" in readme


@pytest.mark.parametrize("licence", LICENCES)
def test_licences(vaebm: Vaebm, licence: str) -> None:
    assert vaebm("plugins", "new", "energy", "mine", "--license", licence).code == 0
    project = tomllib.loads(Path("vaebm-mine/pyproject.toml").read_text())["project"]
    assert project.get("license", "none") == licence
    assert Path("vaebm-mine/LICENSE").exists() == (licence != "none")
    if licence != "none":
        words = {"MIT": "MIT License", "Apache-2.0": "Apache License", "BSD-3-Clause": "BSD 3-Clause"}
        assert words[licence] in Path("vaebm-mine/LICENSE").read_text()


def test_another_place(vaebm: Vaebm) -> None:
    Path("here").mkdir()  # one that is empty may be there
    assert vaebm("plugins", "new", "energy", "soft-walls", "--out", "here").code == 0
    assert files(Path("here")) == PACKAGE
    called = vaebm("plugins", "new", "energy", "soft-walls", "--out", "a/new place")
    assert files(Path("a/new place")) == PACKAGE
    assert "pip install -e 'a/new place'" in called.out


def test_what_is_there_stays(vaebm: Vaebm) -> None:
    Path("vaebm-mine").mkdir()
    Path("vaebm-mine/notes.txt").write_text("years of work")
    Path("mine.py").write_text("more work")
    for arguments in (["mine"], ["mine", "--single-file"], ["mine", "--out", "mine.py"]):
        called = vaebm("plugins", "new", "energy", *arguments)
        assert called.code == 1
        assert "exists" in called.err
        assert "--out" in called.err
    assert files(Path()) == ["mine.py", "vaebm-mine/notes.txt"]
    assert Path("mine.py").read_text() == "more work"


def test_a_disk_that_fills_leaves_nothing(vaebm: Vaebm, monkeypatch: pytest.MonkeyPatch) -> None:
    from vaebm_toolkit.scaffold import writing

    def full(file: Path, *rest: object, **more: object) -> object:
        if Path(file).name == "energy.py":
            raise OSError(28, "No space left on device", str(file))
        return open(file, *rest, **more)

    monkeypatch.setattr(writing, "open", full, raising=False)
    called = vaebm("plugins", "new", "energy", "mine")
    assert called.code == 1
    assert "No space left" in called.err
    assert not Path("vaebm-mine").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["enery", "mine"], 2, 'Did you mean "energy"?'),
        (["importer", "mine"], 2, "no template"),
        (["energy"], 2, "Missing argument 'NAME'"),
        (["energy", "My Energy"], 2, "For example: my-energy"),
        (["energy", "a--b"], 2, "For example: a-b"),
        (["energy", "mine/../.."], 2, "For example: mine"),
        (["energy", "énergie"], 2, "small letters"),
        (["energy", "none"], 2, "means no part"),
        (["energy", "x" * 41], 2, "at most 40"),
        (["energy", "vaebm-mine"], 2, "Leave that out: mine"),
        (["energy", "toolkit"], 2, "vaebm-toolkit, which is part of this toolkit"),
        (["generator", "nvae"], 2, "Choose another name: my-nvae"),
        (["energy", "torch", "--single-file"], 2, "in the way of"),
        (["energy", "random", "--single-file"], 2, "in the way of"),
        (["energy", "class", "--single-file"], 2, "in the way of"),
        (["energy", "mine", "--single-file", "--out", "folder"], 2, "ends in .py"),
        (["energy", "mine", "--licence", "GPL"], 2, "GPL"),
        (["energy", "mine", "--author", "a\nb"], 2, "--author"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_is_refused(vaebm: Vaebm, arguments: list[str], code: int, words: str) -> None:
    called = vaebm("plugins", "new", *arguments)
    assert called.code == code
    assert words in called.err
    assert not files(Path())


def test_a_name_that_is_taken(vaebm: Vaebm) -> None:
    called = vaebm("plugins", "new", "energy", "resnet")
    assert called.code == 0
    assert "used as vaebm-resnet:resnet" in called.err
    assert "--energy vaebm-resnet:resnet" in called.out
    assert 'check_energy("vaebm-resnet:resnet")' in Path("vaebm-resnet/tests/test_contract.py").read_text()
    assert "--energy vaebm-resnet:resnet" in Path("vaebm-resnet/README.md").read_text()
    other = vaebm("plugins", "new", "sampler", "resnet", "--out", "b")  # another kind may have it
    assert not other.err
    assert "vaebm plugins check sampler/resnet" in other.out


def test_help(vaebm: Vaebm) -> None:
    shown = vaebm("plugins", "new", "--help").out
    assert all(kind in shown for kind in KINDS)
    assert "new" in vaebm("plugins", "--help").out


def test_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from vaebm_toolkit.cli import main\n"
        "for rest in (['mine'], ['mine', '--single-file']):\n"
        "    sys.argv = ['vaebm', 'plugins', 'new', 'energy', *rest]; main()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_pieces_of_a_module() -> None:
    first = '"""One."""\n\nimport sys\n\nfrom a import B, a\n\nx = 1\n'
    second = "import torch.nn as nn\nfrom a import CLASS\n\nfrom . import x\n\n\n@mark\ndef f(): ...\n"
    assert compose("Both.", first, second) == (
        '"""Both."""\n\nimport sys\n\nimport torch.nn as nn\nfrom a import B, CLASS, a\n\n'
        "x = 1\n\n\n@mark\ndef f(): ...\n"
    )
