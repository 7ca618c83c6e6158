"""Writing files so that a kill at any moment, or a full disk, leaves the old ones whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError

from vaebm_toolkit.errors import RunError, quoted

TEMPORARY = ".writing-"


@contextmanager
def telling_disk_errors(path: Path) -> Iterator[None]:
    """Turns a failed write into a message that names the place and the next command."""
    try:
        yield
    except (OSError, SafetensorError) as e:
        full = getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(e)
        reason = "the disk is full" if full else str(e)
        run = next((p for p in path.parents if (p / "recipe.toml").exists()), None)
        then = "choose another --out." if run is None else f"continue: vaebm run --resume {quoted(run)}"
        raise RunError(
            f"Cannot write {path}: {reason}. What was complete before is untouched.",
            f"{'Free some space' if full else 'Mend that'}, then {then}",
        ) from e


def write(path: Path, content: bytes | str) -> None:
    """Beside, flushed to disk, then renamed."""
    with written_at_once(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def written_at_once(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to: beside, on success flushed to disk and renamed, else removed."""
    temporary = path.with_name(TEMPORARY + path.name)
    with telling_disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as f:
                yield f
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    write(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def folder_written_at_once(final: Path) -> Iterator[Path]:
    """A temporary folder to fill; on success it becomes `final` in one rename."""
    temporary = final.with_name(TEMPORARY + final.name)
    with telling_disk_errors(final):
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            for file in temporary.iterdir():
                with open(file, "rb") as f:
                    os.fsync(f.fileno())
            sync_folder(temporary)
            if final.exists():
                shutil.rmtree(final)
            os.rename(temporary, final)
            sync_folder(final.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
