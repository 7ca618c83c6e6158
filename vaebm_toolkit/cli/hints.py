"""Hints of parts in the words of `vaebm evaluate`: parts know recipes alone, and name their options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vaebm_toolkit.cli.parts import RECIPE
from vaebm_toolkit.errors import RecipeError, RunError, ToolkitError, quoted

EVALUATE = {r'--evaluate\.features "?([\w,-]+)"?': r"-f \1", r'--evaluate\.metrics "?([\w,-]+)"?': r"-m \1"}
"""A flag in a hint -> what `vaebm evaluate` has for it."""
FILES = {
    **EVALUATE,
    r"--dataset\.size": "--size",
    r"--dataset\.channels": "--channels",
    r"Compare with the test split: --split test": (
        "Give a --reference with folders train/ and test/, or a data set with a test split: --dataset NAME"
    ),
    r", or of a run more samples: --count \d+": "",
}
"""The same where there are images in place of a run."""
CHECK = "All of them: vaebm data check --dataset image-folder --dataset.path WHERE"


def images_of(flag: str) -> dict[str, str]:
    """`FILES` for the images that this flag names."""
    there = {r"--dataset npz --dataset\.path": flag, r"--dataset\.path": flag}
    return {**there, **FILES, r"`vaebm data check` with the same options lists all of them\.": CHECK}


@contextmanager
def hints(words: Mapping[str, str]) -> Iterator[None]:
    """Errors raised within say their fix in these words: pattern -> replacement."""
    try:
        yield
    except ToolkitError as e:
        for pattern, instead in words.items():
            e.fix = re.sub(pattern, instead.replace("WHERE", getattr(e, "where", "")), e.fix)
        raise


def refuse_images(run: Path) -> None:
    """A RunError where images are given in the place of a run."""
    if (run / RECIPE).is_file() or not run.exists():
        return
    from vaebm_toolkit.builtin.data.sources import EXTENSIONS

    folder = run.is_dir() and any(
        p.suffix.lower() in EXTENSIONS for p in (*run.glob("*"), *run.glob("*/*"), *run.glob("*/*/*"))
    )
    if folder or run.suffix in (".zip", ".npz"):
        raise RunError(
            f"{run} is no run; it holds images.",
            f"Evaluate images: vaebm evaluate --samples {quoted(run)} --reference FOLDER",
        )


def writable(out: Path) -> None:
    """A RecipeError where figures cannot be written to `out`, before they are computed."""
    if out.suffix != ".json":
        raise RecipeError(
            f"{out} is no .json file.", f"Figures are JSON: --out {quoted(out.with_suffix('.json'))}"
        )
    if out.is_dir() or not out.parent.is_dir():
        what = f"{out} is a folder" if out.is_dir() else f"The folder {out.parent} does not exist"
        fix = "Name a file in it" if out.is_dir() else f"Make it: mkdir -p {quoted(out.parent)}"
        raise RecipeError(f"{what}.", fix)
