"""Checkpoints without pickle: tensors in safetensors, everything else in JSON.

A checkpoint is a folder `step-00000200` with `state.safetensors` and `state.json`. The
JSON holds the tree with a reference for each tensor, and the tensor file's checksum.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vaebm_toolkit.errors import RunError
from vaebm_toolkit.training.files import TEMPORARY, folder_written_at_once

TENSORS, TREE = "state.safetensors", "state.json"


def pack(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """The value as a JSON tree; its tensors go into `tensors` under their path."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[k, pack(v, tensors, f"{path}/{k}")] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [pack(v, tensors, f"{path}/{i}") for i, v in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__} at {path}")


def unpack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """Undo `pack`."""
    ((kind, content),) = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {k: unpack(v, tensors) for k, v in content}
    if kind == "list":
        return [unpack(v, tensors) for v in content]
    if kind == "tuple":
        return tuple(unpack(v, tensors) for v in content)
    return content


def checksum(path: Path) -> int:
    value = 0
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def write_state(folder: Path, state: Any, about: dict[str, Any]) -> None:
    """One checkpoint, complete or not there at all."""
    tensors: dict[str, Tensor] = {}
    tree = pack(state, tensors)
    with folder_written_at_once(folder) as temporary:
        save_file(tensors, temporary / TENSORS)
        record = {"format": 1, **about, "checksum": checksum(temporary / TENSORS), "tree": tree}
        (temporary / TREE).write_text(json.dumps(record))


def read_state(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The state, on the CPU, and what is known about it. RunError if anything is missing or damaged."""
    try:
        about = json.loads((folder / TREE).read_text())
        if checksum(folder / TENSORS) != about["checksum"]:
            raise ValueError("its checksum is wrong (cut off or changed)")
        tensors = load_file(folder / TENSORS)
        return unpack(about.pop("tree"), tensors), about
    except (OSError, ValueError, KeyError, AttributeError, TypeError, SafetensorError) as e:
        raise RunError(f"The checkpoint {folder} is damaged: {e}.") from e


class Checkpoints:
    """The checkpoints of one stage, newest kept, by step."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder, self.keep = folder, keep

    def steps(self) -> list[int]:
        found = [p.name for p in self.folder.glob("step-*") if p.is_dir()]
        return sorted(int(name[5:]) for name in found if name[5:].isdigit())

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def save(self, step: int, state: Any) -> None:
        """Write the checkpoint of `step`, then drop the oldest beyond `keep`."""
        write_state(self.path(step), state, {"step": step})
        for old in self.steps()[: -self.keep]:
            # renamed first: a kill in the middle of removing leaves no folder that looks like a checkpoint
            removed = self.folder / f"{TEMPORARY}{self.path(old).name}"
            shutil.rmtree(removed, ignore_errors=True)
            self.path(old).rename(removed)
            shutil.rmtree(removed, ignore_errors=True)

    def load(self) -> tuple[int, Any, list[str]] | None:
        """(step, state, warnings) of the newest whole checkpoint; None if there is none yet.

        A damaged one is set aside as `damaged-…`, and the one before it is taken.
        """
        for leftover in self.folder.glob(f"{TEMPORARY}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        warnings = []
        steps = self.steps()
        for step in reversed(steps):
            try:
                state, _ = read_state(self.path(step))
                return step, state, warnings
            except RunError as e:
                aside = self.path(step).with_name(f"damaged-{self.path(step).name}")
                shutil.rmtree(aside, ignore_errors=True)
                self.path(step).rename(aside)
                warnings.append(f"{e.message} It is set aside as {aside.name}; the one before it is used.")
        if warnings:
            raise RunError(
                f"No whole checkpoint is left in {self.folder}: {warnings[0]}",
                f"Start again from its recipe: vaebm run --recipe {self.folder.parent / 'recipe.toml'}",
            )
        return None
