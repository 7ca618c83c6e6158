"""Checkpoints of the released VAEBM and IGEBM code: `vaebm import energy` and `vaebm import igebm`.

VAEBM's are {"model": state dict, "optimizer": Adam's state}, EBM_<iteration>.pth; igebm-pytorch
saves none itself, so a state dict, alone or inside such a dict. Neither says what its network is:
widths and layout are read off the tensors. Our modules have the same names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vaebm_igebm.options import LAYOUTS, MADE_FOR, IGEBMImportOptions
from vaebm_toolkit import RunError
from vaebm_toolkit.core import Imported, adam_moments, tensors

PUBLISHED = {
    "mnist": "mnist",  # the paper has none
    "cifar10": "vaebm-cifar10",
    "celeba64": "vaebm-celeba64",
    "lsun64": "vaebm-lsun-church64",
    "celebahq256": "vaebm-celebahq256",
}
"""Layout -> the recipe whose second stage it was trained with."""
DATA: dict[str, dict[str, Any]] = {
    "mnist": {"name": "mnist"},
    "cifar10": {"name": "cifar10"},
    "celeba64": {"name": "celeba", "size": 64},
    "lsun64": {"name": "lsun", "category": "church_outdoor", "size": 64},
    "celebahq256": {"name": "image-folder", "size": 256, "channels": "rgb", "bits": 5, "flip": True},
}
SIDES = {**MADE_FOR, "lsun64": 64}
COLOURS = {"mnist": 1}
MODEL_KEYS = ("model", "state_dict")

Signature = tuple[tuple[int, int, bool], ...]
"""Per block: channels in and out, in multiples of the width, and whether it has a skip convolution."""


def read_energy(options: None, *, checkpoint: Any, file: Path) -> Imported:
    """VAEBM's energy network."""
    weights = state_dict(checkpoint)
    first = weights.get("conv1.weight")
    if first is None or first.ndim != 4 or "conv1.weight_orig" in weights or not has_blocks(weights):
        raise RunError(
            f"{file} is not a checkpoint of VAEBM's energy network.",
            "Give EBM_<iteration>.pth of NVlabs/VAEBM, or the state dict of such a network.",
        )
    width, colours = first.shape[:2]
    layout = layout_of(weights, width, file)
    moments, left_out = moments_of(checkpoint, weights)
    trainer = adam_settings(checkpoint)
    energy = {"name": "resnet", "width": width, "layout": layout}
    return Imported(
        tables={
            "dataset": dataset(layout, colours),
            "energy": energy,
            "sampler": {"name": "data-ld"},
            "trainer": {"name": "ebm", "steps": 30_000, **trainer},
        },
        shape=(colours, SIDES[layout], SIDES[layout]),
        networks={"energy": weights},
        moments=moments,
        step=iteration(file, moments),
        notes=left_out,
        alone="This energy was trained to correct a generator; alone it is a density of images. With its "
        "generator: vaebm import energy CHECKPOINT --generator-from RUN",
        paired={
            "energy": energy,
            "sampler": {"name": "latent-ld", "target": "official"},
            "trainer": {"name": "vaebm", **trainer},
        },
        published=PUBLISHED[layout],
    )


def read_igebm(options: IGEBMImportOptions, *, checkpoint: Any, file: Path) -> Imported:
    """IGEBM's energy network, with or without classes."""
    stored = state_dict(checkpoint)
    first = stored.get("conv1.weight_orig")
    if first is None or first.ndim != 4 or not has_blocks(stored):
        raise RunError(
            f"{file} is not a checkpoint of IGEBM's energy network.",
            "Give the state dict of an IGEBM network of rosinality/igebm-pytorch.",
        )
    derived = {name for name in stored if f"{name}_orig" in stored}
    weights = {name: tensor for name, tensor in stored.items() if name not in derived}
    if options.weights == "official":
        weights.update({f"{name}_orig": stored[name] for name in derived})
    embedding = weights.get("blocks.0.class_embed.weight")
    width, colours = first.shape[:2]
    moments, left_out = moments_of(
        checkpoint, {name: tensor for name, tensor in weights.items() if not name.endswith(".weight_u")}
    )
    notes = (
        f"{len(derived)} normalised weights replace the trained ones, as when the released code loads them."
        if options.weights == "official"
        else f"{len(derived)} derived weights (the last normalised ones) are left out.",
        "As released, each call moves its spectral norms, so energies depend on the calls before "
        '(advance = "always").',
    )
    return Imported(
        tables={
            "dataset": dataset("cifar10", colours),
            "energy": {
                "name": "igebm",
                "width": width,
                "classes": "none" if embedding is None or embedding.ndim != 2 else len(embedding),
                "advance": "always",
            },
            "sampler": {"name": "data-ld", "steps": 60, "step_size": 20.0, "noise_scale": 0.005,
                        "grad_clip": 0.01, "clamp": True},
            "buffer": {"name": "replay", "capacity": 10_000, "reuse": 0.95, "anneal_steps": 0},
            "trainer": {"name": "ebm", "steps": 100_000, "batch_size": 128, **adam_settings(checkpoint)},
        },
        shape=(colours, SIDES["cifar10"], SIDES["cifar10"]),
        networks={"energy": weights},
        moments=moments,
        step=iteration(file, moments),
        notes=(*notes, *left_out),
    )  # fmt: skip


def state_dict(checkpoint: Any) -> dict[str, Tensor]:
    """The network's tensors, alone in the file or under "model" or "state_dict"; {} if there are none."""
    if isinstance(checkpoint, Mapping):
        for key in MODEL_KEYS:
            found = tensors(checkpoint.get(key))
            if found is not None:
                return found
    return tensors(checkpoint) or {}


def has_blocks(weights: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("blocks.") for name in weights)


def layout_of(weights: Mapping[str, Tensor], width: int, file: Path) -> str:
    """The published layout with these widths and skips; failing that, with as many blocks."""
    blocks = sorted({int(m[1]) for m in (re.match(r"blocks\.(\d{1,3})\.", name) for name in weights) if m})
    found = []
    for i in blocks:
        conv = weights.get(f"blocks.{i}.conv1.weight")
        if conv is not None and conv.ndim == 4:
            found.append(
                (conv.shape[1] / width, conv.shape[0] / width, f"blocks.{i}.skip.0.weight" in weights)
            )
    for name in LAYOUTS:
        if tuple(found) == signature(name):
            return name
    for name in LAYOUTS:
        if len(LAYOUTS[name]) == blocks[-1] + 1 if blocks else False:
            return name  # what does not fit is listed by name
    raise RunError(
        f"{file} holds an energy network of {len(blocks)} blocks, which is none of VAEBM's.",
        f"Those have {', '.join(f'{len(b)} ({name})' for name, b in LAYOUTS.items())}.",
    )


def signature(layout: str) -> Signature:
    """A block that halves the image has a skip convolution also where its widths are equal."""
    return tuple((b.inputs, b.outputs, b.down or b.inputs != b.outputs) for b in LAYOUTS[layout])


def dataset(layout: str, colours: int) -> dict[str, Any]:
    """The published data set, or a folder of images where the network is for other channels."""
    if colours == COLOURS.get(layout, 3):
        return DATA[layout]
    channels = {1: "grey", 3: "rgb"}.get(colours, "data")
    return {"name": "image-folder", "size": SIDES[layout], "channels": channels}


def moments_of(
    checkpoint: Any, parameters: Mapping[str, Tensor]
) -> tuple[dict[str, dict[str, Tensor]], tuple[str, ...]]:
    """Adam's state by parameter name, and what to tell where it does not fit the network."""
    state = checkpoint.get("optimizer") if isinstance(checkpoint, Mapping) else None
    if state is None:
        return {}, ()
    found = adam_moments(state, parameters)
    if found is None:
        return {}, ("Its optimiser state is empty or does not fit the network, and is left out.",)
    return found, ()


def adam_settings(checkpoint: Any) -> dict[str, float]:
    """Learning rate, decays and L2 coefficient out of Adam's state, where they are numbers in range."""
    state = checkpoint.get("optimizer") if isinstance(checkpoint, Mapping) else None
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    group = groups[0] if isinstance(groups, list) and groups and isinstance(groups[0], Mapping) else {}
    betas = group.get("betas")
    first, second = betas if isinstance(betas, (tuple, list)) and len(betas) == 2 else (None, None)
    given = {
        "lr": group.get("lr"),
        "beta1": first,
        "beta2": second,
        "weight_decay": group.get("weight_decay"),
    }
    return {
        key: float(value)
        for key, value in given.items()
        if type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1 and (key != "lr" or value)
    }


def iteration(file: Path, moments: Mapping[str, Mapping[str, Tensor]]) -> int:
    """Training steps: the number in EBM_<iteration>.pth, else the optimiser's."""
    named = re.fullmatch(r"EBM_(\d{1,9})", file.stem)
    if named:
        return int(named[1])
    return max((int(m["step"]) for m in moments.values()), default=0)
