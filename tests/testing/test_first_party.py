"""Every part of this project keeps its contract, as it is by default and with the options named here."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from vaebm_toolkit.evaluation.inception_weights import WeightsFile
from vaebm_toolkit.options import fields
from vaebm_toolkit.registry import OWN, discover
from vaebm_toolkit.testing import ContractError
from vaebm_toolkit.testing.checking import check

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "energy/resnet": [{"norm": "spectral"}, {"batch_norm": True}],
    "energy/igebm": [{"classes": 3}, {"classes": 3, "label": 1}, {"bound": "all", "iterations": 3}],
    "energy/mlp": [{"depth": 3}],
    "buffer/replay": [{"mode": "fifo"}, {"keep": "z"}, {"capacity": 5}],
    "dataset/digits": [{"pad": 1}],
    "sampler/latent-ld": [{"noise_scale": 0.02}, {"grad_clip": 1.0}],
    "sampler/data-ld": [{"grad_clip": "none"}, {"clamp": False}],
}
PARTS = {
    f"{kind}/{name}": part for (kind, name), part in discover().parts.items() if part.distribution in OWN
}
FILES = [
    n
    for n, p in PARTS.items()
    if p.component.kind == "dataset" and {"path", "root"} & set(fields(p.component.options))
]
"""Data sets that are read from files, which are no part of this project."""
WEIGHTS = ["features/inception"]
"""Parts that need weights, which are none either; tests/builtin/test_inception.py has a stand-in."""


@pytest.mark.parametrize("name", [n for n in PARTS if n not in (*FILES, *WEIGHTS)])
def test_by_default(name: str) -> None:
    check(PARTS[name], None)


@pytest.mark.parametrize(
    "name", ["dataset/image-folder", "dataset/npz", "dataset/webdataset", "dataset/lmdb"]
)
def test_on_files(name: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(60) % 3)
    (tmp_path / "folder").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "folder" / f"{i}.png")
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(tmp_path / "folder", "folder")
    path = {"image-folder": "folder", "npz": "images.npz", "webdataset": "images.tar", "lmdb": "images.mdb"}
    if name == "dataset/lmdb":
        lmdb = pytest.importorskip("lmdb")
        with lmdb.open(str(tmp_path / "images.mdb"), subdir=False) as env, env.begin(write=True) as out:
            for i, image in enumerate(images):
                value = b"P6 8 8 255\n" + image.tobytes()  # a file; with its filling, 15 × 15 raw pixels too
                out.put(str(i).encode(), value.ljust(15 * 15, b"\0"))
    check(PARTS[name], None, options={"path": str(tmp_path / path[name.split("/")[1]]), "flip": True})


@pytest.mark.parametrize("name", FILES)
def test_without_files_it_says_what_it_needs(name: str, tmp_path: Path) -> None:
    gone = {"root": str(tmp_path / "gone")} if "root" in fields(PARTS[name].component.options) else {}
    with pytest.raises(ContractError, match="cannot be read with these options"):
        check(PARTS[name], None, options=gone)


def test_without_weights_it_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, as far as it is concerned; the other claims have nothing to be measured on."""
    pytest.importorskip("cleanfid")
    monkeypatch.setattr(WeightsFile, "place", tmp_path / "weights.pt")

    def offline(*given: Any, **more: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    needs = r"The features of inception need inception-2015-12-05\.pt, 95,607,719 bytes, SHA-256 f58cb9b6"
    with pytest.raises(ContractError, match=needs) as e:
        check(PARTS["features/inception"], None)
    assert all(v.status != "failed" for v in e.value.verdicts)


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, many in VARIANTS.items() for options in many]
)
def test_with_other_options(name: str, options: dict[str, Any]) -> None:
    check(PARTS[name], None, options=options)
