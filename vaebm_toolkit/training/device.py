"""Where and in which precision to compute."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
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


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """bf16: matrix work in bfloat16, weights and chain state in float32."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
