"""Every `$ vaebm …` line in README and docs runs, shortened, in the order it stands."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaebm_toolkit import cli

from ..cli.released import energy_file, igebm_file, nvae_file

ROOT = Path(__file__).parents[2]
PAGES = [p for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if "$ vaebm" in p.read_text()]
SHORT = (
    "--generator.channels 4 --generator.groups 1 --pretrain.epochs 1 --pretrain.bn-passes 1 "
    "--pretrain.batch-size 8 --energy.width 4 --trainer.steps 2 --trainer.batch-size 8 --evaluate.samples 8"
)


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ vaebm")]


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
    for line in commands(page):
        args = shlex.split(line)
        if args[1] == "run" and not {"--resume", "--dry-run"} & set(args):
            short = shlex.split(SHORT)
            taken = ["--generator", "--pretrain"] if {"--generator-from", "--energy-from"} & set(args) else []
            taken += ["--energy"] if "--energy-from" in args else []
            short = [f for pair in zip(short[::2], short[1::2], strict=True)
                     if not pair[0].startswith(tuple(taken)) for f in pair]  # fmt: skip
            args += short
        monkeypatch.setattr("sys.argv", args)
        with contextlib.suppress(SystemExit):
            cli.main()
            continue
        pytest.fail(f"this failed: {line}")
