"""Reading a torch.save file of somebody else's code: tensors and plain values, never code.

Weights-only, with exactly `argparse.Namespace` allowed beside torch's own tensors, since NVAE's
files hold their command line as one. A file that holds anything else is refused before it could
run, and the refusal names it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickletools
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import serialization

from vaebm_toolkit.errors import RunError, quoted

ALLOWED = argparse.Namespace
HARMLESS = ("argparse.Namespace", "collections.OrderedDict", "torch.")
SHOWN = 10
AGAIN = "Copy or download it again, and compare its size with the original's."
OTHER_FILES = {  # first bytes -> what such a file is
    b"<": "a web page, not a checkpoint; downloads that ask for a confirmation leave one",
    b"\x1f\x8b": "a gzip archive",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"{": "a JSON text",
}


def read_checkpoint(file: Path) -> Any:
    """What torch.save put into `file`, on the CPU, or a RunError that says what the file is."""
    refuse_other_files(file)
    with only_namespaces(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's remarks on the file's format
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as e:  # torch's own texts advise to switch the protection off
            raise explained(file, e) from None


def refuse_other_files(file: Path) -> None:
    """RunError for what is no torch.save file, or one packed in another way than torch packs it."""
    if file.is_dir():
        if (file / "recipe.toml").is_file():
            raise RunError(
                f"{file} is a run of this toolkit.", f"Use it as it is: vaebm sample {quoted(file)}"
            )
        raise RunError(f"{file} is a folder.", "Give the checkpoint file inside it.")
    if not file.exists():
        raise RunError(f"There is no file {file}.", "Give the path of the checkpoint.")
    if not file.is_file():
        raise RunError(f"{file} is not a file.", "Give the path of the checkpoint.")
    with open(file, "rb") as f:
        first = f.read(16)
    if not first:
        raise RunError(f"{file} is empty.", AGAIN)
    for start, what in OTHER_FILES.items():
        if first.startswith(start) or first.lstrip().startswith(start):
            raise RunError(f"{file} is {what}.", "Give a file that torch.save wrote.")
    if first[8:9] == b"{" and int.from_bytes(first[:8], "little") < file.stat().st_size:
        raise RunError(
            f"{file} is a safetensors file.", "The released formats are those of torch.save; give that file."
        )
    if first.startswith(b"PK"):
        check_archive(file)


def check_archive(file: Path) -> None:
    """RunError for a zip archive that is cut off, or that grows when it is unpacked."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            packed = sum(entry.file_size for entry in entries) > file.stat().st_size
            wrong = None if packed else archive.testzip()  # an entry whose checksum is not right
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, EOFError) as e:
        raise RunError(f"{file} is damaged or cut off: its zip archive cannot be read.", AGAIN) from e
    if not any(entry.filename.endswith("/data.pkl") for entry in entries):
        raise RunError(
            f"{file} is a zip archive, but not a checkpoint.", "Give a file that torch.save wrote."
        )
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise RunError(
            f"{file} is a TorchScript program.", "Give a checkpoint, a file that torch.save wrote."
        )
    if packed:
        raise RunError(f"{file} is packed in another way than torch.save does.", AGAIN)
    if wrong is not None:
        raise RunError(f"{file} is damaged: the checksum of {printable(wrong)} in it is wrong.", AGAIN)


@contextmanager
def only_namespaces() -> Iterator[None]:
    """Inside, weights-only loading allows argparse.Namespace and what torch needs for tensors.

    What other code of this process has allowed does not count, and is put back after.
    """
    before = serialization.get_safe_globals()
    serialization.clear_safe_globals()
    try:
        with serialization.safe_globals([ALLOWED]):
            yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


def explained(file: Path, error: Exception) -> RunError:
    """Why torch.load failed, in our words."""
    offending = foreign_globals(file)
    if offending:
        named = ", ".join(offending[:SHOWN])
        more = f" and {len(offending) - SHOWN} more" if len(offending) > SHOWN else ""
        return RunError(
            f"{file} is refused, and nothing in it was run: it holds pickled code or objects besides "
            f"tensors and argparse.Namespace: {named}{more}.",
            "Ask for a file with tensors and plain values only; a file like this one can run any program "
            "on the machine that unpickles it.",
        )
    if isinstance(error, (EOFError, OSError)) or "EOF" in str(error):
        return RunError(f"{file} is damaged or cut off: it ends too early.", AGAIN)
    return RunError(
        f"{file} cannot be read as a checkpoint: it is damaged, or not a file that torch.save wrote.", AGAIN
    )


def foreign_globals(file: Path) -> list[str]:
    """The functions and classes that the file's pickle names, beyond those that tensors need."""
    try:
        return sorted(printable(name) for name in serialization.get_unsafe_globals_in_checkpoint(str(file)))
    except Exception:  # not a zip archive, or opcodes that torch does not read
        return sorted({printable(n) for n in named_globals(file) if not n.startswith(HARMLESS)})


def named_globals(file: Path) -> list[str]:
    """ "module.name" of every global in the file's pickles, which are disassembled and not run."""
    names, texts = [], [""]
    stream = pickles(file)
    try:
        while stream.peek(1):
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    names.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL":
                    names.append(".".join(texts[-2:]))
                elif isinstance(argument, str):
                    texts.append(argument)
    except Exception:  # the end of the pickles: raw tensors, or damage
        pass
    return names


def pickles(file: Path) -> io.BufferedReader:
    """The file's bytes, or those of data.pkl inside it where it is a zip archive."""
    if not zipfile.is_zipfile(file):
        return open(file, "rb")
    with zipfile.ZipFile(file) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        return io.BufferedReader(io.BytesIO(archive.read(name)))  # type: ignore[arg-type]


def printable(text: str, limit: int = 80) -> str:
    """A text out of an untrusted file as one short line without control characters.

    >>> printable("conv1.weight"), printable("a\\x1b[2J")
    ('conv1.weight', 'a\\\\x1b[2J')
    """
    shown = text.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def sha256(file: Path) -> str:
    with open(file, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
