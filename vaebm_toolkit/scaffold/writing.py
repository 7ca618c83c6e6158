"""Writing a new plugin's files: all of them, or none."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from vaebm_toolkit.errors import ToolkitError


def write_all(folder: Path, texts: Mapping[str, str]) -> None:
    """Path in `folder` -> text. ToolkitError if the folder has something in it; that stays as it is."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ToolkitError(f"{folder} exists and is not empty.", "Choose another place: --out DIR")
    write(folder, texts)


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """ToolkitError if one of the files exists; what was written before that goes again."""
    made: list[Path] = []
    try:
        for path, text in texts.items():
            file = folder / path
            for parent in reversed([p for p in file.parents if not p.exists()]):
                parent.mkdir()
                made.append(parent)
            with open(file, "x", encoding="utf-8") as stream:
                made.append(file)
                stream.write(text)
    except BaseException as e:
        for one in reversed(made):
            with contextlib.suppress(OSError):
                one.rmdir() if one.is_dir() else one.unlink()
        if isinstance(e, FileExistsError):
            raise ToolkitError(f"{e.filename} exists.", "Choose another place: --out") from e
        raise
