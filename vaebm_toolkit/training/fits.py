"""Whether a stage fits a device, and what to switch on where it does not."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import attrs
import torch

from vaebm_toolkit.errors import RecipeError, ToolkitError
from vaebm_toolkit.options import fields
from vaebm_toolkit.recipe import Recipe
from vaebm_toolkit.training.cost import Cost, Estimator

SHARE = 0.9
"""Of a device's memory: the rest is for workspaces of convolutions and what lies between blocks."""
UNITS = {"": 1, "M": 10**6, "MB": 10**6, "G": 10**9, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}


class Room(NamedTuple):
    """The memory that a stage may take."""

    memory: int
    """bytes"""
    name: str
    """whose it is"""
    cpu: bool = False
    """whether it is that of a CPU, where bfloat16 saves memory and, as a rule, no time"""

    def fits(self, cost: Cost) -> bool:
        return cost.memory <= SHARE * self.memory


def room_of(device: torch.device, given: str | None = None, devices: int = 1) -> Room:
    """`given` ("16GiB"), or what the device has in all; of a CPU, what each of `devices` processes may."""
    if given is not None:
        return Room(parsed(given), "a device")
    if device.type == "cuda":
        return Room(torch.cuda.get_device_properties(device).total_memory, str(device))
    name = "this machine" if devices == 1 else f"one of {devices} processes' share of this machine"
    return Room(physical_memory() // devices, name, cpu=True)


def parsed(text: str) -> int:
    """Bytes of a size as people write it; RecipeError if it is none.

    >>> parsed("16GiB"), parsed("80 GB")
    (17179869184, 80000000000)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None or float(found[1]) == 0:
        raise RecipeError(f"--memory {text} is not a size.", "Write one like 16GiB or 80GB.")
    return int(float(found[1]) * unit)


def physical_memory(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Bytes of this machine, or of the container that this process is in, whose bound stands in `limit`."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    bound = limit.read_text().strip() if limit.is_file() else "max"
    return min(memory, int(bound)) if bound.isdigit() else memory


def advice(estimator: Estimator, table: str, cost: Cost, room: Room) -> list[str]:
    """Lines: whether a stage of that cost fits; if not, what makes it fit, cheapest first."""
    if room.fits(cost):
        return [f"  fits {room.name} of {size(room.memory)}"]
    lines = [f"  does not fit {room.name} of {size(room.memory)}, of which {SHARE:.0%} are counted on"]
    if cost.weights > SHARE * room.memory:
        return [
            *lines,
            "  weights, gradients and moments alone are too large. They would have to be split over devices",
            "  (FSDP), which is not offered: the largest published recipe needs 5.5 GiB for them",
        ]
    lines.append("  switch on, each together with those above it:")
    recipe, best = estimator.recipe, cost
    for flag, change in switches(recipe, room):
        if room.fits(best):
            break
        recipe = change(recipe)
        best = estimator.cost(table, recipe)
        lines.append(told(flag, best, room))
    if not room.fits(best):
        found = largest_batch(estimator, table, recipe, best, room)
        if found is not None:
            lines.append(told(f"--{table}.batch-size {found[0]}", found[1], room))
        elif best.buffer:
            lines.append(f"    a smaller --buffer.capacity: kept chains alone take {size(best.buffer)}")
        else:
            lines.append("    nothing of that is enough, even for one example at a time")
    spread = fewest_devices(estimator, table, cost, room)
    if spread is not None:
        n, share, each = spread
        lines.append("  or change nothing, and share the batch out:")
        lines.append(told(f"--devices {n}", each, room, f" each, for {share} examples"))
    return lines


Change = Callable[[Recipe], Recipe]


def switches(recipe: Recipe, room: Room) -> list[tuple[str, Change]]:
    """Flags that take memory away and are not on yet, with what they do to a recipe; cheapest first.

    bfloat16 halves activations and, on a GPU, saves time. Recomputing costs another forward pass.
    """
    found: list[tuple[str, Change]] = []
    for table in ("generator", "energy"):
        part = recipe.parts.get(table)
        if part is not None and getattr(part.options, "recompute", None) is False:
            assert "recompute" in fields(type(part.options))
            found.append((f"--{table}.recompute true", recomputing(table)))
    if recipe.run.precision == "fp32":
        found.insert(len(found) if room.cpu else 0, ("--precision bf16", in_bf16))
    return found


def in_bf16(recipe: Recipe) -> Recipe:
    return attrs.evolve(recipe, run=attrs.evolve(recipe.run, precision="bf16"))


def recomputing(table: str) -> Change:
    def change(recipe: Recipe) -> Recipe:
        part = recipe.parts[table]
        other = attrs.evolve(part, options=attrs.evolve(part.options, recompute=True))
        return attrs.evolve(recipe, parts={**recipe.parts, table: other})

    return change


def largest_batch(
    estimator: Estimator, table: str, recipe: Recipe, cost: Cost, room: Room
) -> tuple[int, Cost] | None:
    """The largest batch below the recipe's that fits, and its cost; None if 1 on each device does not.

    It is a power of two on each device.
    """
    rows = -(-batch_size(recipe, table) // estimator.devices)
    fewer = 1 << max(rows - 1, 1).bit_length() - 1
    while fewer >= 1:
        if proportional(cost, fewer / rows) <= SHARE * room.memory:  # activations hardly grow faster
            found = estimator.cost(table, recipe, fewer * estimator.devices)
            if room.fits(found):
                return fewer * estimator.devices, found
        fewer //= 2
    return None


def fewest_devices(estimator: Estimator, table: str, cost: Cost, room: Room) -> tuple[int, int, Cost] | None:
    """(devices, examples on each, cost on each): the first doubling that fits; None if none does.

    Numbers that the batch or the buffer cannot be divided among are left out.
    """
    batch, n = batch_size(estimator.recipe, table), 2 * estimator.devices
    while n <= batch:
        part = estimator.devices / n
        if batch % n == 0 and cost.weights + part * (cost.buffer + cost.activations) <= SHARE * room.memory:
            try:
                found = estimator.cost(table, devices=n)
            except ToolkitError:  # so many cannot share the buffer
                return None
            if room.fits(found):
                return n, batch // n, found
        n *= 2
    return None


def proportional(cost: Cost, part: float) -> float:
    """Bytes if activations were proportional to the batch: fewer than it takes."""
    return cost.weights + cost.buffer + part * cost.activations


def batch_size(recipe: Recipe, table: str) -> int:
    settings = recipe.parts[table].stage
    assert settings is not None, "resolve gives every trainer its stage options"
    return settings.batch_size


def told(flag: str, cost: Cost, room: Room, more: str = "") -> str:
    return f"    {flag}: {size(cost.memory)}{more}{', fits' if room.fits(cost) else ''}"


def size(n: float) -> str:
    """
    >>> size(3.2e9), size(5.1e6)
    ('3.0 GiB', '4.9 MiB')
    """
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB"
