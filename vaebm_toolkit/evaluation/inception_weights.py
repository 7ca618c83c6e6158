"""Files of Inception weights: which bytes are the right ones, where they lie, and where they come from.

Nothing here loads them, and nothing may be loaded that `found` has not returned.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import platform
import shutil
import tempfile
import urllib.request
from pathlib import Path

import torch
from attrs import frozen

from vaebm_toolkit.errors import DataError, quoted

TIMEOUT = 20  # seconds without an answer after which there is no network
_sound: set[tuple[str, int, int, str]] = set()
"""Path, size, time of change and checksum of what was found right in this process."""


@frozen
class WeightsFile:
    name: str
    size: int
    """bytes"""
    sha256: str
    url: str

    @property
    def place(self) -> Path:
        """Where clean-fid 0.1.35 looks for it: its own place for the one, torch.hub's for the other."""
        if self.name.endswith(".pth"):
            return Path(torch.hub.get_dir()) / "checkpoints" / self.name
        return Path("./" if platform.system() == "Windows" else "/tmp") / self.name

    def __str__(self) -> str:
        return f"{self.name}, {self.size:,} bytes, SHA-256 {self.sha256}"


SCRIPT = WeightsFile(
    "inception-2015-12-05.pt",
    95_607_719,
    "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
)
"""TorchScript, of clean-fid's modes clean and legacy_tensorflow."""
STATE = WeightsFile(
    "pt_inception-2015-12-05-6726825d.pth",
    95_628_359,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth",
)
"""A state dict, of clean-fid's mode legacy_pytorch."""


def weights_of(mode: str) -> WeightsFile:
    """The file that a mode of clean-fid computes with."""
    return STATE if mode == "legacy_pytorch" else SCRIPT


def found(wanted: WeightsFile, given: str | None = None) -> Path:
    """The file, with the right bytes: `given`, or the one at clean-fid's place, or a download to there."""
    path = wanted.place if given is None else Path(given).expanduser()
    if given is not None and not path.is_file():
        raise DataError(f"There is no file {path}, which should be {wanted}.", f"Get it from {wanted.url}")
    if not path.is_file():
        return downloaded(wanted)
    wrong = fault(path, wanted)
    if wrong is not None:
        mend = f"Get it from {wanted.url}"
        if given is None:
            mend = f"Remove it, and it is downloaded again: rm {quoted(path)}"
        raise DataError(f"{path} is not {wanted.name}: {wrong}.", mend)
    return path


def fault(path: Path, wanted: WeightsFile) -> str | None:
    """What is wrong with the file, in words; None where its bytes are right.

    An unchanged file, by its size and time of change, is read once per process.
    """
    try:
        facts = path.stat()
        key = (str(path.resolve()), facts.st_size, facts.st_mtime_ns, wanted.sha256)
        if key in _sound:
            return None
        with path.open("rb") as f:
            sha256 = hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        return f"it cannot be read ({e.strerror})"
    if (facts.st_size, sha256) == (wanted.size, wanted.sha256):
        _sound.add(key)
        return None
    short = ", as a download that was cut off" if facts.st_size < wanted.size else ""
    return (
        f"it has {facts.st_size:,} bytes and SHA-256 {sha256}{short}, "
        f"and should have {wanted.size:,} bytes and SHA-256 {wanted.sha256}"
    )


def downloaded(wanted: WeightsFile) -> Path:
    """The file at clean-fid's place, from clean-fid's URL.

    clean-fid would write to the place itself, and leave half a file there where it is cut off.
    """
    place = wanted.place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            part = Path(folder, wanted.name)
            with urllib.request.urlopen(wanted.url, timeout=TIMEOUT) as answer, part.open("wb") as f:
                shutil.copyfileobj(answer, f)
            wrong = fault(part, wanted)
            if wrong is None:
                os.replace(part, place)
    except (OSError, http.client.HTTPException) as e:
        wrong = str(e) or type(e).__name__
    if wrong is not None:
        raise DataError(
            f"The features of inception need {wanted}, which is not here, and the download failed: {wrong}.",
            f"Get it from {wanted.url} and put it at {place}, or say where it is: --inception-weights PATH",
        )
    return place
