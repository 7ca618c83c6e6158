"""Fetching through torchvision, with what it raises offline turned into one clear message."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

from vaebm_toolkit.errors import DataError


def fetch(name: str, root: Path, call: Callable[[], object]) -> None:
    """Run a torchvision download into `root`; its prints go to stderr."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            call()
    except (OSError, RuntimeError, ValueError, EOFError, ImportError) as error:  # URLError is an OSError
        lines = str(error).strip().splitlines() or [type(error).__name__]
        by_hand = "copy the files there from a machine that has them and leave --dataset.download away."
        raise DataError(
            f"The download of {name} into {root.absolute()} failed: {lines[-1]}",
            f"pip install gdown, or {by_hand}"
            if "gdown" in str(error)
            else f"Check the network, or {by_hand}",
        ) from error


def missing(name: str, root: Path, looked: list[str], *, download: bool = True) -> DataError:
    """None of the known layouts lies under `root`; `looked` are the files that would have done."""
    tried = "".join(f"\n  {root / files}" for files in looked)
    state = "" if root.exists() else " (this folder does not exist)"
    fix = "Name the folder: --dataset.root FOLDER"
    return DataError(
        f"No {name} under {root.absolute()}{state}. Looked for:{tried}",
        fix + (", or fetch the files: --dataset.download true" if download else ""),
    )
