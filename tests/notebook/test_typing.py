"""Type checkers know what users write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import torch
from PIL import Image

import vaebm_toolkit as vt
from vaebm_toolkit import core

model = vt.load("runs/0001-digits", device="cpu")
reveal_type(model)
samples = model.sample(16, seed=1, temperature=[0.7, 0.8])
reveal_type(samples)
reveal_type(samples[0])
reveal_type(samples[:3])
reveal_type(samples.energies)
reveal_type(model.energy(samples))
model.energy(Image.open("x.png"))
model.energy([Image.open("x.png"), Image.open("y.png")])
model.energy(samples.numpy())
model.energy(["a.png", "b.png"])
reveal_type(model.encode(torch.rand(1, 8, 8)))
reveal_type(vt.resolve("digits", {"energy": {"width": 8}, "buffer": None}))
reveal_type(vt.parts("energy")["resnet"])
fresh = vt.build(["digits", "official"], {"run": {"seed": 3}}, shape=(1, 8, 8))
if fresh.sampler is not None:
    reveal_type(core.run_chain(fresh.sampler, fresh.start(3), fresh.density(), core.stream(0)))


def least_likely(model: vt.Model, count: int) -> vt.Samples:
    drawn = model.sample(100)
    assert drawn.energies is not None
    return drawn[drawn.energies.argsort(descending=True)[:count]]
"""

REVEALED = [
    "vaebm_toolkit.notebook.model.Model",
    "vaebm_toolkit.notebook.samples.Samples",
    "torch._tensor.Tensor",
    "vaebm_toolkit.notebook.samples.Samples",
    "torch._tensor.Tensor | None",
    "torch._tensor.Tensor",
    "dict[str, torch._tensor.Tensor]",
    "vaebm_toolkit.recipe.Recipe",
    "vaebm_toolkit.notebook.listing.Listing",
    "dict[str, torch._tensor.Tensor]",
]

WRONG = """
import vaebm_toolkit as vt

vt.lode("x")
vt.load(3)
vt.load("x").sample("many")
vt.run("digits", quite=True)
"""


Mypy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def mypy(tmp_path_factory: pytest.TempPathFactory) -> Mypy:
    """mypy --strict as a user of the installed package would run it in a folder.

    What `make lint` has found out about torch is taken from a copy of its cache, where there is one.
    """
    cache = tmp_path_factory.mktemp("mypy")
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", cache, dirs_exist_ok=True)
    options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={cache}"]

    def call(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mypy", *options, *args], cwd=folder, capture_output=True, text=True,
            check=False, env={**os.environ, "MYPYPATH": str(ROOT)},
        )  # fmt: skip

    return call


@pytest.mark.slow
def test_a_users_script(mypy: Mypy, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = mypy(tmp_path, "script.py")
    assert done.returncode == 0, done.stdout
    found = [line.split('"')[1] for line in done.stdout.splitlines() if "Revealed type" in line]
    assert [sorted(t.split(" | ")) for t in found] == [sorted(t.split(" | ")) for t in REVEALED]


@pytest.mark.slow
def test_mistakes_are_found(mypy: Mypy, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    lines = [
        int(line.split(":")[1]) for line in mypy(tmp_path, "wrong.py").stdout.splitlines() if "error:" in line
    ]
    assert lines == [4, 5, 6, 7]


@pytest.mark.slow
def test_the_example_of_a_plugin(mypy: Mypy) -> None:
    done = mypy(ROOT / "examples" / "vaebm-box" / "src", "-p", "vaebm_box")
    assert done.returncode == 0, done.stdout
