"""What `--devices` refuses before it starts processes, and how it tells what became of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from vaebm_toolkit.cli.devices import LOST, going_on, tell
from vaebm_toolkit.errors import RunError

from .conftest import Vaebm


def test_a_single_device_is_refused(vaebm: Vaebm) -> None:
    code, _, err = vaebm("run", "--devices", "2", "--device", "cuda:1")
    assert code == 2
    assert "each of several processes takes its own" in err
    assert "--device cuda," in err
    assert not Path("runs").exists()


def test_only_runs_are_evaluated_on_several(vaebm: Vaebm) -> None:
    code, _, err = vaebm("evaluate", "--samples", "a", "--reference", "b", "--devices", "2")
    assert code == 2
    assert "--devices is for runs" in err


def failures(**codes: int) -> dict[int, SimpleNamespace]:
    return {int(rank[1:]): SimpleNamespace(exitcode=code) for rank, code in codes.items()}


def test_how_a_job_ends() -> None:
    with pytest.raises(RunError, match=r"Process 3 of 4 .* was ended by SIGKILL"):
        tell(failures(r0=LOST, r3=-9), 4, "Again")
    with pytest.raises(RunError, match="was ended by SIGSEGV; the others"):
        tell(failures(r1=-11), 2, "Again")
    with pytest.raises(SystemExit) as e:
        tell(failures(r0=LOST, r1=2), 2, "Again")
    assert e.value.code == 2
    with pytest.raises(RunError, match="does not answer"):
        tell(failures(r0=LOST), 2, "Again")


def test_what_comes_next(tmp_path: Path) -> None:
    assert going_on(tmp_path, 2) == "Start it again."
    (tmp_path / "recipe.toml").touch()
    assert going_on(tmp_path, 2) == f"Continue: vaebm run --resume {tmp_path} --devices 2"
    assert going_on(tmp_path, 2, "cpu").endswith("--devices 2 --device cpu")
