"""`vaebm run` and `vaebm data` on data with modes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vaebm_toolkit.builtin.data import stacked

from ..data.toy import toy_digits
from .conftest import TINY, Vaebm

STACKED = ["--dataset", "stacked-mnist", "--dataset.root", "toy"]
SMALL = [
    *TINY, "--generator.scales", "1",
    "--generator.preprocess-cells", "1", "--generator.postprocess-cells", "1",
    "--pretrain.steps", "2", "--pretrain.batch-size", "8", "--evaluate.batch-size", "20",
]  # fmt: skip


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "STEPS", 60)


def test_modes_of_stacked_digits_are_counted(vaebm: Vaebm) -> None:
    toy_digits(Path("toy"))
    small = [f for f in zip(SMALL[::2], SMALL[1::2], strict=True) if f[0] != "--pretrain.epochs"]
    called = vaebm("run", *STACKED, *(word for pair in small for word in pair), "--out", "r")
    assert called.code == 0, called.err
    assert "digit accuracy 1" in called.out
    found = json.loads(Path("r/metrics.json").read_text())
    assert found["protocol"]["modes"].keys() == {
        "split",
        "samples",
        "modes",
        "kl of uniform samples",
        "digit accuracy",
    }
    for figures in found["figures"].values():
        assert 1 <= figures["modes"] <= 20
        assert figures["in modes"] == 1
        assert figures["kl to uniform"] > 3  # log 1000 less at most log 20


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--dataset.limit", "200"], "no modes"), (STACKED, "of the test digits, and 98.5% are")],
)
def test_what_cannot_be_counted_is_refused_before_training(
    vaebm: Vaebm, flags: list[str], words: str
) -> None:
    toy_digits(Path("toy"), shuffled=True)
    result = vaebm("run", *flags, "--evaluate.metrics", "modes", "--out", "r")
    assert result.code == 1
    assert words in result.err
    assert '--evaluate.metrics "frechet"' in result.err
    assert not Path("r").exists()


def test_look_at_stacked_digits(vaebm: Vaebm) -> None:
    toy_digits(Path("toy"))
    few = [*STACKED, "--dataset.train-size", "300", "--dataset.test-size", "100"]
    called = vaebm("data", "check", *few)
    assert called.code == 0, called.err
    assert "shape   3 × 28 × 28" in called.out
    assert "classes 1000" in called.out
    assert vaebm("data", "preview", *few, "--out", "x.png").code == 0
    assert Path("x.png").is_file()


def test_a_dry_run_needs_no_files(vaebm: Vaebm) -> None:
    called = vaebm("run", "--recipe", "stacked-mnist", "--dry-run")
    assert called.code == 0, called.err
    assert "679,553 parameters" in called.out
