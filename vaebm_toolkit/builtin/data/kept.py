"""Indexes of large files, kept in the user's cache: made once, and again when a file has changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebm_toolkit.evaluation.classifier import cache_folder

Arrays = Mapping[str, NDArray[Any]]


def kept_arrays(kind: str, files: Sequence[Path], make: Callable[[], Arrays]) -> Arrays:
    """What `make` found in these files, by their paths, sizes and times of change.

    What cannot be read back is made again; what cannot be written is not kept.
    """
    key = hashlib.sha256(kind.encode())
    for file in files:
        status = file.stat()
        about = (os.path.realpath(file), status.st_size, status.st_mtime_ns)
        key.update(repr(about).encode("utf-8", "surrogateescape"))
    place = cache_folder() / "indexes" / f"{kind}-{key.hexdigest()[:24]}.npz"
    damaged = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with contextlib.suppress(*damaged), np.load(place, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}
    made = make()
    own = place.with_name(f"{place.stem}-{os.getpid()}.npz")  # another process may write the same
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        np.savez(own, **made)  # type: ignore[arg-type]
        os.replace(own, place)
    except OSError:
        with contextlib.suppress(OSError):
            own.unlink(missing_ok=True)
    return made
