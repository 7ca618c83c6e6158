"""What an importer makes of a checkpoint of somebody else's code, and help for reading one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

Tables = dict[str, dict[str, Any]]
"""Recipe tables: {"generator": {"name": "nvae", "channels": 128}, …}"""

Moments = dict[str, dict[str, Tensor]]
"""Parameter name -> what Adam keeps for it: step (0-d), exp_avg and exp_avg_sq (the parameter's shape)"""


class Imported(NamedTuple):
    """A checkpoint in this toolkit's terms: a recipe, and the networks it describes."""

    tables: Tables
    """The recipe; the parts it does not name are the defaults'."""
    shape: tuple[int, ...]
    """Of one example, (C, H, W) for images; an energy's is the generator's where one is given."""
    networks: dict[str, dict[str, Tensor]]
    """ "generator" or "energy" -> our parameter name -> tensor"""
    bounds: tuple[float, float] | None = (0.0, 1.0)
    """The range of every value; None if there is none."""
    moments: Moments = {}  # noqa: RUF012  a NamedTuple's default, never changed
    """The energy's optimiser state, where the file has one."""
    step: int = 0
    """Training steps behind the networks, as far as the file tells."""
    notes: tuple[str, ...] = ()
    """What the user should know, one sentence each."""
    alone: str = ""
    """The same, of an energy that is imported without the generator it corrects."""
    paired: Tables | None = None
    """For an energy that corrects a generator: its second stage beside one (`--generator-from`)."""
    published: str = ""
    """The shipped recipe whose second stage fills what `paired` leaves out."""


def tensors(value: Any) -> dict[str, Tensor] | None:
    """Name -> tensor of a state dict, without the prefix "module." of data-parallel training.

    None if `value` is anything else.
    """
    if not isinstance(value, Mapping) or not value:
        return None
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items()):
        return None
    prefix = "module."
    if all(name.startswith(prefix) for name in value):
        return {name[len(prefix) :]: tensor.detach() for name, tensor in value.items()}
    return {name: tensor.detach() for name, tensor in value.items()}


def adam_moments(state: Any, parameters: Mapping[str, Tensor]) -> Moments | None:
    """Adam's state by parameter name, from an optimiser's state dict, which counts parameters.

    `parameters` are those it was made for, in order. None where it has no state, or where it
    does not fit them.
    """
    if not isinstance(state, Mapping) or not isinstance(state.get("state"), Mapping) or not state["state"]:
        return None
    names = list(parameters)
    found: Moments = {}
    for index, values in state["state"].items():
        if type(index) is not int or not 0 <= index < len(names) or not isinstance(values, Mapping):
            return None
        name = names[index]
        step = values.get("step")
        average, square = values.get("exp_avg"), values.get("exp_avg_sq")
        if not isinstance(average, Tensor) or not isinstance(square, Tensor):
            return None
        if not average.shape == square.shape == parameters[name].shape:
            return None
        step = torch.as_tensor(step, dtype=torch.float32) if isinstance(step, (int, float, Tensor)) else None
        if step is None or step.numel() != 1 or not torch.isfinite(step) or step < 1:
            return None
        if not (torch.isfinite(average).all() and torch.isfinite(square).all() and (square >= 0).all()):
            return None
        found[name] = {"step": step.reshape(()), "exp_avg": average, "exp_avg_sq": square}
    return found
