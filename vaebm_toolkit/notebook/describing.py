"""What a model says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vaebm_toolkit.build import build_energy, build_generator
from vaebm_toolkit.notebook.listing import Listing
from vaebm_toolkit.training.rundir import STAGES

if TYPE_CHECKING:
    from vaebm_toolkit.notebook.model import Model

BUILD = {"generator": build_generator, "energy": build_energy}
STAGE = {"generator": "pretrain", "energy": "train"}  # which one trains it


def listing(model: Model) -> Listing:
    """Parts, parameters, steps trained, figures: a line each."""
    names = {table: part.name for table, part in model.recipe.parts.items()}
    size = " × ".join(map(str, model.shape))
    span = "" if model.bounds is None else f" in [{model.bounds[0]:g}, {model.bounds[1]:g}]"
    rows = [
        ["data", f"{names['dataset']}: {'images' if len(model.shape) == 3 else 'vectors'} of {size}{span}"]
    ]
    for table in BUILD:
        if table in names:
            rows.append(
                [table, f"{names[table]}, {parameters(model, table):,} parameters, {trained(model, table)}"]
            )
    if model.sampler is not None:
        rows.append(["sampler", f"{names['sampling']}, {model.sampler.steps:,} steps"])
    for name, figures in model.figures.items():
        said = ", ".join(f"{metric} {value:.4g}" for metric, value in figures.items())
        rows.append([f"figures of {name}", said])
    rows.append(["device", str(model.device)])
    title = "Model, untrained" if model.path is None else f"Model of {model.path}"
    return Listing(["", ""], rows, title)


def parameters(model: Model, table: str) -> int:
    """Of the network that is trained; counted without making one."""
    with model.undisturbed(), torch.device("meta"):
        network = BUILD[table](model.recipe, model.shape)
    return 0 if network is None else sum(p.numel() for p in network.parameters())


def trained(model: Model, table: str) -> str:
    """How its stage ended."""
    if model.run is None:
        return "untrained"
    stage = STAGE[table]
    done = model.run.done(stage)
    if done is None:
        return "not trained yet" if STAGES[stage] in model.recipe.parts else "trained elsewhere"
    stopped = f", stopped: {done['stopped']}" if done.get("stopped") else ""
    if done.get("step") is not None:
        return f"{done['step']:,} steps{stopped}"
    return f"from {done['from']}" if done.get("from") else f"trained{stopped}"
