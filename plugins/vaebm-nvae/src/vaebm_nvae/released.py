"""Checkpoints of the released NVAE and VAEBM code: `vaebm import nvae`.

torch.save of a dict with `state_dict` and `args`, the command line. Our modules have the same
names; what the file holds twice is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor

from vaebm_nvae.arguments import Arguments, data, pretrain, shown
from vaebm_nvae.importing import ImportOptions
from vaebm_toolkit import RecipeError, RunError
from vaebm_toolkit.core import Imported, tensors

TWIN = ".weight_normalized"
"""A convolution's second copy of its weight, or in older files its normalised weight."""


def read(options: ImportOptions, *, checkpoint: Any, file: Path) -> Imported:
    """The generator in `checkpoint`, what torch.load found in `file`."""
    if options.bn_temperature != 1.0 and not options.bn_passes:
        raise RecipeError(
            "--bn-temperature is that of re-calibration, which --bn-passes asks for.", "Add --bn-passes 500."
        )
    if not isinstance(checkpoint, dict) or "args" not in checkpoint:
        raise RunError(
            f"{file} is not a checkpoint of NVAE's released code: it has no args.",
            "Give a checkpoint.pt of NVlabs/NVAE or NVlabs/VAEBM.",
        )
    if type(checkpoint["args"]) is not argparse.Namespace:
        raise RunError(
            f"{file}: its args are {shown(checkpoint['args'])}, not an argparse.Namespace.",
            "Give a checkpoint.pt of NVlabs/NVAE or NVlabs/VAEBM.",
        )
    stored = tensors(checkpoint.get("state_dict"))
    if stored is None:
        raise RunError(
            f"{file} has no state_dict of tensors.", "Give a checkpoint.pt of NVlabs/NVAE or NVlabs/VAEBM."
        )
    args = Arguments(checkpoint["args"], str(file))
    weights = {name: tensor for name, tensor in stored.items() if not name.endswith(TWIN)}
    bits = args.within("num_x_bits", 5, 8)
    images = data(args, bits)
    generator = options_of(args, weights, images.binary, bits, images.pad)
    check_size(args, generator, weights, images.side + 2 * images.pad)
    stage = {
        **pretrain(args),
        "bn_passes": options.bn_passes,
        "bn_temperature": options.bn_temperature,
        "bn_batch_size": options.bn_batch_size,
    }
    step = checkpoint.get("global_step")
    twins = len(stored) - len(weights)
    return Imported(
        tables={
            "dataset": images.table,
            "generator": generator,
            "pretrain": stage,
            "trainer": {"name": "none"},
        },
        shape=(images.colours, images.side, images.side),
        networks={"generator": weights},
        step=step if type(step) is int and 0 <= step < 2**53 else 0,
        notes=(f"{twins} second copies of weights (*{TWIN}) are left out.",) if twins else (),
    )


def options_of(
    args: Arguments, weights: dict[str, Tensor], binary: bool, bits: int, pad: int
) -> dict[str, Any]:
    """The table [generator]."""
    count = len(weights)  # no network has more cells than tensors
    channels, channels_dec = (args.within(f"num_channels_{s}", 1, 2**16) for s in ("enc", "dec"))
    before, after = (args.within(f"num_{s}process_blocks", 0, 12) for s in ("pre", "post"))
    if before != after:
        raise RunError(
            f"{args.where}: {after} postprocess blocks do not give back the size that {before} preprocess "
            "blocks take.",
            "The file is damaged or not a checkpoint of NVAE's released code.",
        )
    head, mixtures = head_of(args, weights, binary)
    found = {
        "name": "nvae",
        "channels": channels,
        "channels_dec": "none" if channels_dec == channels else channels_dec,
        "scales": args.within("num_latent_scales", 1, 12),
        "groups": args.within("num_groups_per_scale", 1, count),
        "ada_groups": args.give(bool, "ada_groups", False),
        "min_groups": args.within("min_groups_per_scale", 1, count, 1),
        "latent": args.within("num_latent_per_group", 1, 2**16),
        "preprocess_blocks": before,
        "preprocess_cells": args.within("num_preprocess_cells", 1, count),
        "postprocess_blocks": after,
        "postprocess_cells": args.within("num_postprocess_cells", 1, count),
        "cells_per_group_enc": args.within("num_cell_per_cond_enc", 0, count),
        "cells_per_group_dec": args.within("num_cell_per_cond_dec", 0, count),
        "cells": args.cells(),
        "se": args.give(bool, "use_se"),
        "residual": args.give(bool, "res_dist"),
        "flows": args.within("num_nf", 0, count),
        "head": head,
        "bits": bits,
        "pad": pad,
        "prior": "official",
        "logistic": "official",
    }
    if mixtures is not None:
        found["mixtures"] = mixtures
    cells = number_of_cells(found)
    if cells > count:
        raise RunError(
            f"{args.where}: its arguments describe {cells} cells and flows, but it holds {count} tensors.",
            "The file is damaged, or its arguments belong to another network.",
        )
    return found


def head_of(args: Arguments, weights: dict[str, Tensor], binary: bool) -> tuple[str, int | None]:
    """The output distribution, and its number of mixture components where it has any.

    Older files do not say num_mixture_dec; then the last convolution's 6 or 10 · mixtures channels do.
    """
    if binary:
        return "bernoulli", None
    last = weights.get("image_conditional.1.weight")
    told = 10 if last is None or last.ndim == 0 else 1 if len(last) == 6 else max(len(last) // 10, 1)
    mixtures = args.within("num_mixture_dec", 1, 2**16, told)
    return ("gaussian", None) if mixtures == 1 else ("logistic-mixture", mixtures)


def number_of_cells(table: dict[str, Any]) -> int:
    """Cells and flows of the network that a [generator] table describes."""
    groups, total = table["groups"], 0
    for _ in range(table["scales"]):
        total += groups
        groups = max(table["min_groups"], groups // 2) if table["ada_groups"] else groups
    ends = table["preprocess_blocks"] * (table["preprocess_cells"] + table["postprocess_cells"])
    per_group = table["cells_per_group_enc"] + table["cells_per_group_dec"] + table["flows"]
    return int(ends + total * per_group)


def check_size(args: Arguments, table: dict[str, Any], weights: dict[str, Tensor], side: int) -> None:
    """RunError unless the decoder's first feature map, doubled as often as asked, has the images' size."""
    start = weights.get("prior_ftr0")
    multiple = 2 ** (table["preprocess_blocks"] + table["scales"] - 1)
    if start is None or start.ndim != 3:
        return  # listed with the other tensors that do not fit
    if start.shape[1] * multiple != side or start.shape[2] * multiple != side:
        raise RunError(
            f"{args.where}: its data set {shown(args.give(str, 'dataset'))} has images of {side} × {side} "
            f"(with padding), but its network makes {start.shape[1] * multiple} × "
            f"{start.shape[2] * multiple}.",
            "The file's arguments belong to another network.",
        )
