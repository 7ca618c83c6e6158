"""Every template, installed as pip would leave it: it is found, it keeps its contract, it trains."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vaebm_toolkit import registry
from vaebm_toolkit.scaffold.rendering import KINDS

from .conftest import Vaebm

ROOT = Path(__file__).parents[2]
SHORT = {
    "gaussians25": "--pretrain.steps 2 --trainer.steps 4 --trainer.batch-size 16 --trainer.log-every 2 "
    "--dataset.train-size 300 --dataset.test-size 100 --evaluate.samples 20 --sampling.steps 2",
    "digits": "--generator.channels 4 --generator.groups 1 --generator.latent 2 --pretrain.epochs 1 "
    "--pretrain.bn-passes 1 --energy.width 4 --trainer.steps 2 --trainer.batch-size 16 --sampling.steps 2 "
    "--sampler.steps 2 --evaluate.samples 20",
}
Install = Callable[[str, str], Path]


def ruff(*arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "--no-cache", "--config", ROOT / "pyproject.toml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def forget() -> None:
    """What earlier plugins left in this process."""
    registry._installed.cache_clear()
    for name in [m for m in sys.modules if m.startswith(("vaebm_mine", "vaebm_file_"))]:
        del sys.modules[name]


@pytest.fixture
def install(vaebm: Vaebm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install("energy", "mine-energy")` -> the new package's folder, which is then installed."""

    def make(kind: str, name: str) -> Path:
        assert vaebm("plugins", "new", kind, name).code == 0
        folder = tmp_path / f"vaebm-{name}"
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        info = folder / "src" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n"
            f"License-Expression: {project['license']}\n"
        )
        points = [f"{n} = {v}" for n, v in project["entry-points"]["vaebm_toolkit"].items()]
        (info / "entry_points.txt").write_text("\n".join(["[vaebm_toolkit]", *points]) + "\n")
        monkeypatch.syspath_prepend(str(folder / "src"))
        importlib.invalidate_caches()
        forget()
        return folder

    yield make
    forget()


def new_test(folder: Path) -> Callable[[], None]:
    """The test that the package comes with."""
    found: dict[str, Callable[[], None]] = {}
    exec((folder / "tests" / "test_contract.py").read_text(), found)
    return found["test_contract"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_is_clean_and_keeps_its_contract(vaebm: Vaebm, install: Install, kind: str) -> None:
    folder = install(kind, f"mine-{kind}")
    ruff("check", folder)
    ruff("format", "--check", folder)
    assert not registry.installed().problems
    listed = vaebm("plugins", "list", "--verbose").out
    assert f"vaebm-mine-{kind}\t0.1.0\t1\tMIT" in listed
    if kind != "logger":
        assert f"{kind}\tmine-{kind}\tvaebm-mine-{kind}" in listed
        assert f"{kind} mine-{kind}" in vaebm("plugins", "show", f"mine-{kind}").out
    new_test(folder)()


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_is_clean_and_keeps_its_contract(vaebm: Vaebm, kind: str) -> None:
    for name in ("mine", "mine-" + "with-a-long-name-" * 2 + "x"):
        made = vaebm("plugins", "new", kind, name, "--single-file")
        assert made.code == 0
        ruff("check", f"{name}.py")
        ruff("format", "--check", f"{name}.py")
    plugin, named = ["--plugin", "mine.py"], "mine.py" if kind == "logger" else "mine"
    assert f"vaebm plugins check --plugin ./{name}.py" in made.out
    assert vaebm("plugins", "list", *plugin).code == 0
    checked = vaebm("plugins", "check", *plugin, named)
    assert checked.code == 0, checked.out
    forget()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_run_that_its_readme_proposes(vaebm: Vaebm, install: Install, kind: str) -> None:
    readme = (install(kind, f"mine-{kind}") / "README.md").read_text()
    (command,) = re.findall(r"^\$ vaebm (run .*)$", readme, flags=re.MULTILINE)
    short = SHORT["gaussians25" if "gaussians25" in command else "digits"]
    quick = [] if kind == "metric" else ["--evaluate.metrics", "frechet"]
    called = vaebm(*command.split(), *short.split(), *quick, "--log.report", "false", "--out", "r")
    assert called.code == 0, called.err
    assert Path("r/metrics.json").exists()
    if kind == "logger":
        assert Path("r/mine-logger.csv").read_text().startswith("stage,step,figure,value\npretrain,2,")
    else:
        assert f"vaebm-mine-{kind}" in Path("r/environment.json").read_text()


@pytest.mark.slow
def test_a_logger_stops_a_stage(vaebm: Vaebm, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("logger", "mine-logger")
    run = ["run", "--dataset", "gaussians25", *SHORT["gaussians25"].split(), "--evaluate.samples", "0"]
    monkeypatch.setenv("VAEBM_MINE_LOGGER_LIMIT", "many")
    refused = vaebm(*run, "--out", "a")
    assert refused.code == 2
    assert "VAEBM_MINE_LOGGER_LIMIT: 'many' is not a number" in refused.err
    monkeypatch.setenv("VAEBM_MINE_LOGGER_LIMIT", "1e-9")
    stopped = vaebm(*run, "--out", "b")
    assert "|energy_gap| = " in stopped.err
    assert "exceeds 1e-09 at step 2" in stopped.err
