"""`vt.run` and `vt.resume`: the whole job in a process that goes on after it."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

import vaebm_toolkit as vt
from vaebm_toolkit.training import fit

from .conftest import TINY


def test_where_it_goes_and_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    model = vt.run("digits", TINY)
    assert model.path == Path("runs/0001-digits")
    assert set(model.figures) == {"generator", "vaebm"}
    said = capfd.readouterr()
    assert said.out + said.err == ""
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    environment = json.loads((model.path / "environment.json").read_text())
    assert environment["command"] == ["vaebm_toolkit.run"]
    second = vt.run("digits", {"trainer": {"steps": 2}}, generator_from=model.path, quiet=False)
    assert second.path == Path("runs/0002-digits")
    said = capfd.readouterr()
    assert "train" in said.out + said.err
    assert f"from {model.path.resolve()}" in repr(second)
    networks = "pretrain/networks.safetensors"
    assert (second.path / networks).read_bytes() == (model.path / networks).read_bytes()


def test_the_recipe_of_the_run_that_a_generator_comes_from(run: Path, tmp_path: Path) -> None:
    model = vt.run(None, {"trainer": {"steps": 1}}, generator_from=run, out=tmp_path / "r")
    tables, source = model.recipe.tables(), vt.load(run).recipe.tables()
    assert tables["trainer"].pop("steps") == 1
    assert source["trainer"].pop("steps") == 4
    assert tables == source
    with pytest.raises(vt.RecipeError, match="comes trained from"):
        vt.run(None, {"generator": {"channels": 8}}, generator_from=run, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_resume(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "r")
    shutil.rmtree(tmp_path / "r" / "train")
    (tmp_path / "r" / "metrics.json").unlink()
    for _ in range(2):  # the second time there is nothing to do, and nobody holds the run
        model = vt.resume(tmp_path / "r")
        assert model.figures == vt.load(run).figures
    networks = (run / "train" / "networks.safetensors").read_bytes()
    assert (tmp_path / "r" / "train" / "networks.safetensors").read_bytes() == networks


def test_an_interrupted_run_says_how_to_go_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit, "complaint", interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            vt.run("digits", TINY, out=tmp_path / "r")
    assert "vt.resume" in caught.value.__notes__[0]
    assert vt.resume(tmp_path / "r").figures == vt.load(run).figures


def test_a_taken_place_is_refused(run: Path) -> None:
    with pytest.raises(vt.RunError, match="already holds a run"):
        vt.run("digits", TINY, out=run)
    with pytest.raises(vt.RunError, match="does not exist"):
        vt.resume(run / "nothing")


def test_warnings_are_pythons(tmp_path: Path) -> None:
    over = {**TINY, "health": {"max_loss": 1e-9}, "trainer": {**TINY["trainer"], "steps": 2}}
    with pytest.warns(RuntimeWarning, match="stage pretrain stopped"), pytest.raises(vt.RunError):
        vt.run("digits", over, out=tmp_path / "r")
