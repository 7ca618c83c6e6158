"""`vaebm latents` and `vaebm likelihood`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Vaebm


def test_encode_writes_noise_by_group_with_labels(vaebm: Vaebm, finished: Path) -> None:
    assert vaebm("latents", "encode", finished, "--count", "7", "--out", "a.npz").code == 0
    assert (
        vaebm("latents", "encode", finished, "--count", "7", "--batch-size", "2", "--out", "b.npz").code == 0
    )
    a, b = np.load("a.npz"), np.load("b.npz")
    assert {k: a[k].shape for k in a} == {"z0": (7, 2, 4, 4), "x": (7, 1, 8, 8), "labels": (7,)}
    for key in a:
        np.testing.assert_allclose(a[key], b[key], atol=1e-4)


@pytest.mark.parametrize("what", ["reconstruct", "interpolate"])
def test_pictures(vaebm: Vaebm, finished: Path, what: str) -> None:
    result = vaebm("latents", what, finished, "--count", "3", "--out", "x.png")
    assert (result.code, result.out.strip()) == (0, "x.png")
    assert min(Image.open("x.png").size) > 100


def test_likelihood_prints_bounds_with_their_meaning_and_keeps_them(vaebm: Vaebm, finished: Path) -> None:
    result = vaebm("likelihood", finished, "-n", "20", "--importance", "3", "--importance-count", "10")
    assert result.code == 0
    assert "ELBO" in result.out
    assert "density of 2x − 1" in result.out
    assert "active units" in result.out
    stored = json.loads((finished / "likelihood.json").read_text())
    assert set(stored["bounds"]) == {"ELBO", "importance-weighted, 3 samples"}
    assert stored["bounds"]["ELBO"]["examples"] == 20


def test_the_data_set_can_be_another(vaebm: Vaebm, finished: Path) -> None:
    np.savez("my.npz", images=np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8))
    result = vaebm("likelihood", finished, "--dataset", "npz", "--dataset.path", "my.npz", "--split", "train")
    assert result.code == 0
    assert "27" in result.out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["latents", "encode", "RUN", "--out", "x.txt"], "Use --out x.npz"),
        (["latents", "reconstruct", "RUN", "--out", "x"], "Use --out x.png"),
        (["latents", "interpolate", "RUN", "--first", "9999", "--out", "x.png"], "Choose a number below"),
        (["latents", "encode", "nowhere", "--out", "x.npz"], "nowhere does not exist"),
        (["likelihood", "RUN", "--dataset", "gaussians25"], "is for data of shape (1, 8, 8)"),
        (["likelihood", "RUN", "--dataset.nonsense", "1"], "has no such option"),
        (
            ["sample", "RUN", "--temperature", "0.5,0.6", "--out", "x.npz"],
            "2 temperatures for 1 latent groups",
        ),
        (["sample", "RUN", "--temperature", "-1", "--out", "x.npz"], "at least 0"),
    ],
)
def test_wrong_input(vaebm: Vaebm, finished: Path, args: list[str], says: str) -> None:
    result = vaebm(*[str(finished) if a == "RUN" else a for a in args])
    assert result.code != 0
    assert says in result.err


def test_temperature_of_the_generator(vaebm: Vaebm, finished: Path) -> None:
    spread = {}
    for t in ("0", "0.5", "1"):
        flags = ["--temperature", t, "--head-temperature", "1e-6", "--out", f"{t}.npz"]
        assert vaebm("sample", finished, "--generator-only", "-n", "6", *flags).code == 0
        spread[t] = np.load(f"{t}.npz")["images"].astype(float).std(0).mean()
    assert 0 == spread["0"] < spread["0.5"] < spread["1"]


@pytest.mark.parametrize("command", [["latents"], ["latents", "encode"], ["likelihood"]])
def test_help(vaebm: Vaebm, command: list[str]) -> None:
    result = vaebm(*command, "--help")
    assert result.code == 0
    assert "Usage" in result.out
