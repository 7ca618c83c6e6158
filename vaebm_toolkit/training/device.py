"""Where and in which precision to compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from vaebm_toolkit.errors import RecipeError


def choose_device(name: str) -> torch.device:
    """ "auto" is the first CUDA device, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as e:
        reason = str(e).splitlines()[0]
        raise RecipeError(f"--device {name} is not to be had here: {reason}", "Use --device cpu.") from e
    return device


def use_threads(threads: int | None) -> None:
    """CPU threads for torch's operations; None leaves torch's choice, one per core."""
    if threads is not None:
        torch.set_num_threads(threads)


@contextmanager
def undisturbed(threads: int | None) -> Iterator[None]:
    """Work as a command does in a process of its own, and leave this one as it was.

    Inside: `threads` CPU threads, float32, new tensors on the CPU, no inference mode, which chains cannot
    work in. On leaving: all that, and the global generator, as before.
    """
    count, dtype = torch.get_num_threads(), torch.get_default_dtype()
    elsewhere = torch.get_default_device().type != "cpu"
    try:
        torch.set_default_dtype(torch.float32)
        use_threads(threads)
        with (
            torch.random.fork_rng(devices=[]),
            torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext(),
            torch.device("cpu") if elsewhere else nullcontext(),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(count)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """bf16: matrix work in bfloat16, weights and chain state in float32."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
