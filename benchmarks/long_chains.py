"""Chains far longer than trained: do they stay where the model has its mass?

    python benchmarks/long_chains.py runs/gaussians25 --out chains.png

From ε ~ N(0, I), with the run's own test-time step size, on both targets: `exact`, the paper's, and
`official`, the released code's, whose chains leave out Σ log σ (docs/paper-and-code.md). Prints a
Markdown table of E and U = E + ½‖ε‖² and of the modes reached; the picture has histograms of E
and the samples.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from vaebm_toolkit.building import build_dataset
from vaebm_toolkit.core import (
    Generator,
    ModalDataset,
    Model,
    State,
    run_chain,
    square_norm,
    standard_normal,
    stream,
    target_density,
)
from vaebm_toolkit.registry import installed
from vaebm_toolkit.report.pictures import histograms, save_png, scatter
from vaebm_toolkit.trained import load_model
from vaebm_toolkit.training.rundir import RunDirectory

TARGETS = ("exact", "official")


class Row(NamedTuple):
    target: str
    steps: int
    energy: Tensor
    """(count,) E(x)"""
    potential: float
    """mean U(ε), over both groups"""
    inside: float
    """share of the samples that lie in a mode"""
    counts: Tensor
    """(modes,) share of the samples in each mode, relative to equal shares"""
    x: Tensor


@torch.no_grad()
def row(model: Model, data: ModalDataset, target: str, steps: int, state: State) -> Row:
    assert model.energy is not None
    assert model.generator is not None
    x = model.generator.decode(state).x
    energy = model.energy(x)
    mode = data.mode_of(x)
    counts = torch.bincount(mode[mode >= 0], minlength=data.modes) * data.modes / len(x)
    potential = float((energy + 0.5 * square_norm(state)).mean())
    return Row(target, steps, energy, potential, float((mode >= 0).float().mean()), counts, x)


def rows(model: Model, data: ModalDataset, checkpoints: list[int], count: int, seed: int) -> Iterator[Row]:
    """After each number of steps, for each target; both start from the same noise."""
    assert isinstance(model.generator, Generator)
    assert model.energy is not None
    assert model.sampler is not None
    for target in TARGETS:
        sampler = copy.copy(model.sampler)
        sampler.target = target
        density = target_density(sampler, model.generator, model.energy)
        state = standard_normal(model.generator.groups, count, stream(seed, "start"), model.like)
        done = 0
        for steps in checkpoints:
            state = run_chain(sampler, state, density, stream(seed, "noise", done), steps - done)
            done = steps
            yield row(model, data, target, steps, state)


def table(found: list[Row]) -> str:
    lines = [
        "| target | steps | E: 5 %, median, 95 % | mean U | within 4σ | modes | fullest, emptiest mode |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in found:
        low, middle, high = torch.quantile(r.energy, r.energy.new_tensor([0.05, 0.5, 0.95])).tolist()
        lines.append(
            f"| {r.target} | {r.steps:,} | {low:.2f}, {middle:.2f}, {high:.2f} | {r.potential:.2f} "
            f"| {100 * r.inside:.1f} % | {int((r.counts > 0).sum())} "
            f"| {float(r.counts.max()):.2f}, {float(r.counts.min()):.2f} |"
        )
    return "\n".join(lines)


def picture(data: ModalDataset, found: list[Row]) -> Image.Image:
    """Per target a histogram of E(x), and a row of samples on the axes of the data."""
    x = data.test.batch(torch.arange(len(data.test)))
    margin = 0.15 * (x.amax(0) - x.amin(0))
    (left, bottom), (right, top) = (x.amin(0) - margin).tolist(), (x.amax(0) + margin).tolist()
    strips = [
        scatter(
            {f"{t}, {r.steps:,} steps": r.x for r in found if r.target == t}, 220, (left, right, bottom, top)
        )
        for t in TARGETS
    ]
    energies = torch.cat([r.energy for r in found])
    limits = (float(energies.min()), float(energies.quantile(0.995)))
    panels = [
        histograms({f"{r.steps:,} steps": r.energy for r in found if r.target == t}, f"E(x), {t}", limits)
        for t in TARGETS
    ]
    top = panels[0].height
    whole = Image.new("RGB", (strips[0].width, top + sum(s.height for s in strips)), "white")
    for i, (panel, strip) in enumerate(zip(panels, strips, strict=True)):
        whole.paste(panel, (i * panel.width, 0))
        whole.paste(strip, (0, top + i * strip.height))
    return whole


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("run", type=Path, help="a finished run on data with modes")
    options.add_argument("--steps", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    options.add_argument("--count", type=int, default=1000, help="chains")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, help="write the picture here")
    o = options.parse_args()
    run = RunDirectory.open(o.run, installed())
    data = build_dataset(run.recipe)
    if not isinstance(data, ModalDataset) or data.shape != (2,):
        options.error(f"the data of {o.run} have no modes in the plane; take a run on gaussians25")
    found = list(rows(load_model(run, torch.device("cpu")), data, sorted(o.steps), o.count, o.seed))
    print(table(found))
    if o.out is not None:
        save_png(picture(data, found), o.out)


if __name__ == "__main__":
    main()
