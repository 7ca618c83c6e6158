"""Inception's weights: nothing but the right bytes, and one clear sentence where they are not to be had."""

from __future__ import annotations

import hashlib
import io
import os
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from vaebm_toolkit.errors import DataError
from vaebm_toolkit.evaluation.inception_weights import SCRIPT, STATE, WeightsFile, found, weights_of

RIGHT = bytes(range(256)) * 8


class Placed(WeightsFile):
    """A small file of weights with a place of its own."""

    folder: Path

    @property
    def place(self) -> Path:
        return self.folder / self.name


@pytest.fixture
def wanted(tmp_path: Path) -> Placed:
    made = Placed("inception.pt", len(RIGHT), hashlib.sha256(RIGHT).hexdigest(), "https://host/inception.pt")
    object.__setattr__(made, "folder", tmp_path / "place")
    return made


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the network answers, in order; offline when it is empty."""
    left: list[bytes] = []

    def urlopen(url: str, **more: Any) -> io.BytesIO:
        assert url == "https://host/inception.pt"
        if not left:
            raise urllib.error.URLError("Name or service not known")
        return io.BytesIO(left.pop(0))

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return left


def test_clean_fids_files_and_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As its source has them, for each of its modes."""
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    assert weights_of("clean") is weights_of("legacy_tensorflow") is SCRIPT
    assert weights_of("legacy_pytorch") is STATE
    assert STATE.place == tmp_path / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
    if os.name != "nt":
        assert SCRIPT.place == Path("/tmp/inception-2015-12-05.pt")
    helper = pytest.importorskip("cleanfid.downloads_helper")
    network = pytest.importorskip("cleanfid.inception_pytorch")
    assert (helper.inception_url, network.FID_WEIGHTS_URL) == (SCRIPT.url, STATE.url)
    assert all(len(f.sha256) == 64 and f.url.endswith("/" + f.name) for f in (SCRIPT, STATE))


def test_the_given_file_comes_first(wanted: Placed, tmp_path: Path) -> None:
    given = tmp_path / "mine"
    given.write_bytes(RIGHT)
    assert found(wanted, str(given)) == given
    with pytest.raises(DataError, match=r"There is no file .*gone, which should be inception\.pt, 2,048"):
        found(wanted, str(tmp_path / "gone"))


def test_then_the_one_at_its_place(wanted: Placed) -> None:
    wanted.folder.mkdir()
    wanted.place.write_bytes(RIGHT)
    assert found(wanted) == wanted.place


def test_then_a_download(wanted: Placed, answers: list[bytes]) -> None:
    answers.append(RIGHT)
    assert found(wanted) == wanted.place
    assert wanted.place.read_bytes() == RIGHT
    assert [p.name for p in wanted.folder.iterdir()] == ["inception.pt"]
    assert found(wanted) == wanted.place  # without a network


@pytest.mark.parametrize("answer", [None, RIGHT[:100], b"<html>"])
def test_where_none_is_to_be_had_everything_is_said(
    wanted: Placed, answers: list[bytes], answer: bytes | None
) -> None:
    """Offline, cut off, and where something else answers; nothing is left at the place."""
    answers += [] if answer is None else [answer]
    with pytest.raises(DataError) as e:
        found(wanted)
    told = ["inception.pt", "2,048 bytes", wanted.sha256, wanted.url, str(wanted.place)]
    for words in [*told, "--inception-weights PATH"]:
        assert words in str(e.value)
    assert ("Name or service not known" in str(e.value)) == (answer is None)
    assert list(wanted.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [(RIGHT[:1000], "1,000 bytes.*as a download that was cut off"), (bytes(len(RIGHT)), "2,048 bytes")],
)
def test_other_bytes_are_refused(wanted: Placed, content: bytes, told: str) -> None:
    """Before anything is loaded, with what was found and what it should be."""
    wanted.folder.mkdir()
    wanted.place.write_bytes(content)
    with pytest.raises(DataError, match=told) as e:
        found(wanted)
    for words in (hashlib.sha256(content).hexdigest(), wanted.sha256, "2,048 bytes", f"rm {wanted.place}"):
        assert words in str(e.value)
    with pytest.raises(DataError, match=told) as e:
        found(wanted, str(wanted.place))
    assert "rm " not in str(e.value), "a file that the user names is the user's"


def test_an_unchanged_file_is_read_once(
    wanted: Placed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "mine"
    given.write_bytes(RIGHT)
    reads = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda f, name: reads.append(f.name) or digest(f, name))
    for _ in range(3):
        found(wanted, str(given))
    assert len(reads) == 1
    with pytest.raises(DataError):
        found(evolve(SCRIPT), str(given))  # right for one is not right for another
    assert len(reads) == 2
    given.write_bytes(RIGHT[::-1])
    os.utime(given, ns=(1, 1))
    with pytest.raises(DataError):
        found(wanted, str(given))


def test_a_folder_is_no_file(wanted: Placed, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        found(wanted, str(tmp_path))
