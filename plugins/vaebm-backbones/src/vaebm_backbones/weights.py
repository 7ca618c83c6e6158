"""Weights from a local file into a network: everything has to fit but the classifier's last layer."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vaebm_toolkit import RecipeError

SHOWN = 5
"""names of tensors in an error"""


def load_weights(network: nn.Module, path: str, head: Set[str]) -> None:
    """Copy the file's tensors into the network; those of `head` stay new where they do not fit.

    RecipeError with the names of what is missing, too much, or of another shape. On the meta device
    everything is compared and nothing copied.
    """
    stored, own = read(path), network.state_dict()
    counters = {k for k in own if k.endswith("num_batches_tracked")}  # old files have none
    missing = sorted(set(own) - set(stored) - head - counters)
    unexpected = sorted(set(stored) - set(own))
    shapes = sorted(k for k in set(own) & set(stored) - head if own[k].shape != stored[k].shape)
    complaints = [
        f"{what}: {', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if complaints:
        raise RecipeError(
            f"energy.weights: {path} is of another network. {'; '.join(complaints)}.",
            "Give weights of the network that energy.model names.",
        )
    if any(p.is_meta for p in network.parameters()):
        return
    fitting = {k: v for k, v in stored.items() if v.shape == own[k].shape}
    network.load_state_dict(fitting, strict=False)


def read(path: str) -> dict[str, Tensor]:
    """Name -> tensor of a .safetensors file, or of a state dict by `torch.save`, read weights-only."""
    file = Path(path)
    if not file.is_file():
        raise RecipeError(
            f"energy.weights: there is no file {path}.",
            'Give its path. A trained run no longer needs it: write weights = "none" in its recipe.toml.',
        )
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        if file.suffix not in (".pt", ".pth"):
            raise RecipeError(
                f"energy.weights: {path} is neither .safetensors nor .pt nor .pth.",
                "Save the network's state dict as one of them.",
            )
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except RecipeError:
        raise
    except Exception as e:  # what a damaged file may raise is not foreseeable
        raise RecipeError(
            f"energy.weights: {path} cannot be read: {str(e).partition(chr(10))[0]}",
            "Save it with safetensors, or by torch.save(network.state_dict(), PATH).",
        ) from e
    if not isinstance(stored, dict) or not all(isinstance(v, Tensor) for v in stored.values()):
        found = (
            ", ".join(map(str, list(stored)[:SHOWN])) if isinstance(stored, dict) else type(stored).__name__
        )
        raise RecipeError(
            f"energy.weights: {path} is no state dict, but holds {found}.",
            "Save the state dict alone: torch.save(network.state_dict(), PATH)",
        )
    return stored
