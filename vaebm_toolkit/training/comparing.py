"""Whether given tensors are a network's: names, shapes, kind, finite values."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vaebm_toolkit.errors import RunError
from vaebm_toolkit.training.health import all_finite
from vaebm_toolkit.training.released import printable

NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64)
LISTED = 10


def compare(module: nn.Module, tensors: Mapping[str, Tensor], complaint: str, fix: str) -> None:
    """RunError unless names and shapes are the module's and every value is finite."""
    odd = [name for name, tensor in tensors.items() if not plain(tensor)]
    if odd:
        raise RunError(
            f"{complaint}: not plain tensors: {listed(odd)}.", "Ask for a file with dense tensors of numbers."
        )
    expected = module.state_dict()
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected]
    both = [name for name in expected if name in tensors]
    shaped = [
        f"{printable(name)} {tuple(tensors[name].shape)}, not {tuple(expected[name].shape)}"
        for name in both
        if tensors[name].shape != expected[name].shape
    ]
    lines = [
        f"{what}: {listed(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("mis-shaped", shaped))
        if names
    ]
    if lines:
        counts = f"{len(missing)} missing, {len(unexpected)} unexpected, {len(shaped)} mis-shaped tensors."
        raise RunError(
            "\n    ".join([f"{complaint}: {counts}", *lines]),
            fix,
        )
    wild = [name for name in both if not all_finite([tensors[name]])]
    if wild:
        raise RunError(
            f"{complaint}: not finite: {listed(wild)}.",
            "That training diverged; take a checkpoint from before.",
        )


def plain(tensor: Tensor) -> bool:
    """Dense numbers on the CPU that are all there: no sparse, quantised, nested or expanded tensor."""
    if tensor.is_nested or tensor.layout != torch.strided or tensor.device.type != "cpu":
        return False
    whole = tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    return whole and tensor.dtype in NUMBERS


def listed(names: list[str]) -> str:
    shown = ", ".join(printable(n) for n in names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED} more"
