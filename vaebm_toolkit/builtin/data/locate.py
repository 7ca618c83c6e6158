"""Paths that users type: missing ones are errors that say where was looked and what comes next."""

from __future__ import annotations

from pathlib import Path

from vaebm_toolkit.errors import DataError, RecipeError, nearest


def required(path: str | None, dataset: str, metavar: str) -> str:
    if path is None:
        raise RecipeError(
            f"dataset.path: {dataset} needs to know where the images are.", f"Add --dataset.path {metavar}"
        )
    return path


def existing(path: str, what: str) -> Path:
    """The path with ~ expanded; `what` completes "… is expected there"."""
    found = Path(path).expanduser()
    try:
        if found.exists():
            return found
        parent = next(p for p in found.absolute().parents if p.exists())
        near = sorted(p.name for p in parent.iterdir()) if parent.is_dir() else []
    except OSError as error:
        raise DataError(
            f"{found} cannot be looked at: {error.strerror}.", "Check its permissions."
        ) from error
    hint = nearest(found.name, near[:200]) if near and parent == found.absolute().parent else ""
    raise DataError(
        f"{found} does not exist (looked at {found.absolute()}); {what} is expected there.",
        hint if hint.startswith("Did") else f"The nearest folder that exists is {parent}.",
    )
