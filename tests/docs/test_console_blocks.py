"""Every line after a `$` in README and docs runs, in the order it stands, trainings shortened."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaebm_toolkit import cli, registry

from ..cli.released import energy_file, igebm_file, nvae_file

ROOT = Path(__file__).parents[2]
DOCS = [p for pattern in ("*.md", "metrics/*.md") for p in sorted((ROOT / "docs").glob(pattern))]
PAGES = [p for p in (ROOT / "README.md", *DOCS) if "\n$ " in p.read_text()]
SHORT = (
    "--generator.channels 4 --generator.groups 1 --pretrain.epochs 1 --pretrain.bn-passes 1 "
    "--pretrain.batch-size 8 --energy.width 4 --trainer.steps 2 --trainer.batch-size 8 --evaluate.samples 8 "
    "--log.report false"
)
PLANE = "--pretrain.steps 2 --pretrain.batch-size 8 --dataset.train-size 200 --dataset.test-size 100"
SHALLOW = "--generator.groups 1"
"""for dry runs of the published NVAEs, whose depth alone takes time; tests/recipes describes them whole"""


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def vaebm(args: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """`vaebm …` in this process, a training with as few steps and as small networks as there can be."""
    if args[1] == "run" and not {"--resume", "--dry-run"} & set(args):
        args = without_lengths(args)
        short = shlex.split(SHORT)
        taken = ["--generator", "--pretrain"] if {"--generator-from", "--energy-from"} & set(args) else []
        taken += ["--energy"] if {"--energy-from", "--energy"} & set(args) else []
        if "gaussians25" in args:
            taken += ["--generator.", "--pretrain."]
            args = [*args, *PLANE.split()]
        for flag, value in zip(short[::2], short[1::2], strict=True):
            args = args if flag.startswith(tuple(taken)) else [*args, flag, value]
    elif args[1] == "run" and any(a.startswith(("vaebm-", "nvae-")) for a in args):
        args = [*args, *SHALLOW.split()]
    monkeypatch.setattr("sys.argv", args)
    try:
        cli.main()
    except SystemExit as e:
        return int(e.code or 0)
    return 0


def without_lengths(args: list[str]) -> list[str]:
    """Without the lengths of stages that the line gives, and their values."""
    lengths = [i for i, a in enumerate(args) if re.fullmatch(r"--(pretrain|trainer)\.(steps|epochs)", a)]
    return [a for i, a in enumerate(args) if i not in lengths and i - 1 not in lengths]


def install(folder: Path, site: Path) -> int:
    """What `pip install -e` leaves behind."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [f"{n} = {v}" for n, v in project["entry-points"]["vaebm_toolkit"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[vaebm_toolkit]", *lines]) + "\n")
    sys.path[:0] = [str(folder / "src"), str(site)]
    importlib.invalidate_caches()
    registry._installed.cache_clear()
    return 0


def execute(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a console line."""
    args = shlex.split(line)
    match args:
        case ["vaebm", *_, ">", file]:
            with open(file, "w", encoding="utf-8") as out, contextlib.redirect_stdout(out):
                return vaebm(args[:-2], monkeypatch)
        case ["vaebm", *_]:
            return vaebm(args, monkeypatch)
        case ["pip", "install", "-e", folder]:
            return install(Path(folder).resolve(), Path("site").resolve())
        case ["pytest", *rest]:
            path = os.pathsep.join(sys.path)
            asked = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *rest]
            return subprocess.run(asked, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
    pytest.fail(f"no way to run this: {line}")


@pytest.fixture
def dtype() -> torch.dtype:
    return torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_console_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(f"my-images/{i}.png")
    nvae_file()
    energy_file("EBM_30000.pth")
    igebm_file()
    monkeypatch.setattr(sys, "path", list(sys.path))
    try:
        for line in commands(page):
            assert execute(line, monkeypatch) == 0, line
    finally:
        registry._installed.cache_clear()
        for name, module in list(sys.modules.items()):  # another page may install a package of that name
            if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]
