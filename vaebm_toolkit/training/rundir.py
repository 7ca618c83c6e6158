"""The run directory: what a run leaves behind, and what it continues from.

recipe.toml       the resolved recipe
environment.json  versions, device, git state, command, and where each part came from
plugins/          copies of the single files that parts came from; they are never run from here by themselves
data.json         shape, bounds and sizes of the data set
log.jsonl         one line per logged step
pretrain/, train/ checkpoints, networks.safetensors and done.json of each stage; start.json
                  where an energy goes on from another run's
samples/          pictures
metrics.json      the final table with its protocol
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.errors import RunError, quoted
from vaebm_toolkit.hookspecs import GROUP
from vaebm_toolkit.options import derived_values
from vaebm_toolkit.recipe import Recipe
from vaebm_toolkit.registry import Registry, UnknownPart
from vaebm_toolkit.training.checkpoint import Checkpoints
from vaebm_toolkit.training.files import TEMPORARY, sync_folder, telling_disk_errors, write, write_json

STAGES = {"pretrain": "pretrain", "train": "trainer"}  # stage -> recipe table
DATA, ENVIRONMENT, PLUGINS = "data.json", "environment.json", "plugins"


class RunDirectory:
    """Paths and records of one run."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path, self.recipe = path, recipe
        self.stage = ""
        self.services: dict[str, Any] = {}  # what loggers keep open between steps
        self._log: Any = None
        self._lock: Any = None

    @staticmethod
    def refuse_taken(path: Path) -> None:
        """RunError if `path` holds a run or anything else."""
        if (path / "recipe.toml").exists():
            raise RunError(
                f"{path} already holds a run.",
                f"Continue it: vaebm run --resume {quoted(path)}, or choose another --out.",
            )
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path} exists and is not empty.", "Choose another --out.")

    @classmethod
    def create(cls, path: Path, recipe: Recipe, command: list[str]) -> RunDirectory:
        """A new run in a directory that is not taken."""
        cls.refuse_taken(path)
        run = cls(path, recipe)
        write_json(path / ENVIRONMENT, {**environment(command), "parts": origins(recipe)})
        for file in dict.fromkeys(r.file for r in recipe.components if r.file):
            write(path / PLUGINS / Path(file).name, Path(file).read_bytes())
        write(path / "log.jsonl", json.dumps({"stage": "setup", **facts(recipe)}) + "\n")
        write(path / "recipe.toml", recipes.dumps(recipe.tables()))
        return run

    @classmethod
    @contextmanager
    def being_made(cls, path: Path, recipe: Recipe, command: list[str]) -> Iterator[RunDirectory]:
        """A new run, filled beside `path`; it takes its place in one rename, or leaves nothing."""
        cls.refuse_taken(path)
        temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
        try:
            run = cls.create(temporary, recipe, command)
            yield run
            with telling_disk_errors(path):
                os.replace(temporary, path)
                sync_folder(path.parent)
            run.path = path
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    @classmethod
    def open(cls, path: Path, registry: Registry) -> RunDirectory:
        """An existing run, with its recipe resolved by the parts installed now."""
        if not (path / "recipe.toml").is_file():
            what = "is not a run directory: it has no recipe.toml" if path.exists() else "does not exist"
            runs = sorted(path.glob("*/recipe.toml")) or sorted(path.parent.glob("*/recipe.toml"))
            there = f"Runs nearby: {', '.join(str(r.parent) for r in runs[-5:])}." if runs else ""
            start = f"Start one there: vaebm run --out {quoted(path)}"
            raise RunError(f"{path} {what}.", there or start)
        try:
            return cls(path, recipes.resolve(recipes.read(path / "recipe.toml"), registry))
        except UnknownPart as e:
            raise missing_part(path, e) from e

    def lock(self) -> None:
        """Keep others from writing to this run, until `unlock` or the end of the process."""
        self._lock = open(self.path / ".lock", "w")  # noqa: SIM115  closed by unlock()
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise RunError(
                f"Another process is working on {self.path}.", "Wait for it, or choose another --out."
            ) from e

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def checkpoints(self, stage: str) -> Checkpoints:
        settings = self.recipe.parts[STAGES[stage]].stage
        return Checkpoints(self.path / stage, settings.keep if settings is not None else 3)

    # what a finished stage leaves

    def done(self, stage: str) -> dict[str, Any] | None:
        """How the stage ended: {"step", "stopped"}; None while it has not."""
        file = self.path / stage / "done.json"
        if not file.is_file():
            return None
        found: dict[str, Any] = read_json(file)
        return found

    def finish(self, stage: str, networks: Mapping[str, Mapping[str, Tensor]], about: dict[str, Any]) -> None:
        """Keep the networks to sample with, then mark the stage as done."""
        flat = {
            f"{name}/{key}": value.detach().cpu().contiguous().clone()
            for name, state in networks.items()
            for key, value in state.items()
        }
        write(self.path / stage / "networks.safetensors", save(flat))
        write_json(self.path / stage / "done.json", about)

    def networks(self, stage: str) -> dict[str, dict[str, Tensor]]:
        """Network name -> state dict, of a finished stage."""
        file = self.path / stage / "networks.safetensors"
        try:
            flat = load(file.read_bytes())
        except (OSError, SafetensorError) as e:
            raise RunError(
                f"{file} cannot be read: {e}.", f"Make it again: vaebm run --resume {quoted(self.path)}"
            ) from e
        out: dict[str, dict[str, Tensor]] = {}
        for key, value in flat.items():
            name, _, rest = key.partition("/")
            out.setdefault(name, {})[rest] = value
        return out

    def finished_generator(self) -> dict[str, dict[str, Tensor]]:
        """The networks of the generator stage, or an error that says how to get them."""
        if "generator" not in self.recipe.parts:
            raise RunError(f"{self.path} has no generator.", "Choose another run.")
        if self.done("pretrain") is None:
            raise RunError(
                f"{self.path} has no trained generator.",
                f"Train it: vaebm run --resume {quoted(self.path)}, or choose another run.",
            )
        return self.networks("pretrain")

    # the log

    def start_log(self, stage: str, step: int) -> None:
        """Open the log for a stage that goes on after `step`; later lines of it are dropped."""
        self.stage = stage
        file = self.path / "log.jsonl"
        kept = [r for r in read_log(file) if not (r.get("stage") == stage and r.get("step", 0) > step)]
        write(file, "".join(json.dumps(r) + "\n" for r in kept))
        self._log = open(file, "a", encoding="utf-8")  # noqa: SIM115  closed by close()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        values = {k: v if math.isfinite(v) else str(v) for k, v in metrics.items()}
        with telling_disk_errors(self.path / "log.jsonl"):
            self._log.write(json.dumps({"stage": self.stage, "step": step, **values}) + "\n")
            self._log.flush()

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
        for service in self.services.values():
            service.close()
        self.services.clear()


def facts(recipe: Recipe) -> dict[str, Any]:
    """What follows from the options: "sampler.temperature" -> 1.0, and the like."""
    return {
        f"{table}.{name}": value
        for table, part in recipe.parts.items()
        if part.options is not None
        for name, (value, _) in derived_values(part.options).items()
    }


def origins(recipe: Recipe) -> list[dict[str, str]]:
    """Kind, name and origin of every part that a run uses."""
    return [
        {"kind": r.component.kind, "name": r.component.name, "distribution": r.distribution,
         "version": r.version}
        for r in recipe.components
    ]  # fmt: skip


def missing_part(path: Path, error: UnknownPart) -> RunError:
    """What a run needs that is not there, and where it came from when the run was made."""
    file = path / ENVIRONMENT
    known = read_json(file).get("parts", []) if file.is_file() else []
    bare = error.name.rpartition(":")[2]
    for part in known:
        if (part["kind"], part["name"]) == (error.kind, bare):
            copy = path / PLUGINS / part["distribution"]
            if copy.is_file():
                fix = f"It came from a single file, of which the run has a copy: --plugin {quoted(copy)}"
            else:
                wanted = "".join(
                    [part["distribution"], *(["==", part["version"]] if part["version"] else [])]
                )
                fix = f"It came from the plugin {wanted}, which is not in use here: pip install {wanted}"
            return RunError(f'{path} uses the {error.kind} "{error.name}", which is not known.', fix)
    return RunError(f"{path}: {error.message}", error.fix)


def read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise RunError(f"{file} cannot be read: {e}.") from e


def read_log(file: Path) -> list[dict[str, Any]]:
    """The log's records; a last line cut off by a kill is left out."""
    if not file.exists():
        return []
    records = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def environment(command: list[str]) -> dict[str, Any]:
    """What a figure depends on besides the recipe."""
    plugins = {
        d.metadata["Name"]: d.version
        for d in distributions()
        if any(e.group == GROUP for e in d.entry_points)
    }
    return {
        "command": command,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
        "plugins": dict(sorted(plugins.items())),
        "git": git_state(),
    }


def git_state() -> str | None:
    """The working directory's commit, with "+changes" where it is not clean."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12"],
            capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None if asked.returncode == 0 else None


def next_path(folder: Path, name: str) -> Path:
    """runs/0007-digits: the next number in `folder`."""
    taken = [p.name[:4] for p in folder.glob("[0-9][0-9][0-9][0-9]-*")] if folder.exists() else []
    return folder / f"{max((int(t) for t in taken), default=0) + 1:04d}-{name}"
