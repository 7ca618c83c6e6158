"""Small networks of ours in the layouts of the released code, as files."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaebm_igebm.igebm import build as build_igebm
from vaebm_igebm.options import IGEBMOptions, ResNetOptions
from vaebm_igebm.resnet import build as build_resnet
from vaebm_nvae.network import build as build_nvae
from vaebm_nvae.options import NVAEOptions

ARGS: dict[str, Any] = {
    "dataset": "cifar10", "arch_instance": "res_mbconv", "num_channels_enc": 4, "num_channels_dec": 4,
    "num_latent_scales": 1, "num_groups_per_scale": 2, "num_latent_per_group": 2, "ada_groups": False,
    "min_groups_per_scale": 1, "num_preprocess_blocks": 1, "num_preprocess_cells": 1,
    "num_postprocess_blocks": 1, "num_postprocess_cells": 1, "num_cell_per_cond_enc": 1,
    "num_cell_per_cond_dec": 1, "num_nf": 0, "num_x_bits": 8, "num_mixture_dec": 1, "use_se": True,
    "res_dist": True, "batch_size": 16, "epochs": 7, "learning_rate": 0.01, "learning_rate_min": 1e-4,
    "weight_decay": 3e-4, "weight_decay_norm": 0.1, "weight_decay_norm_init": 10.0,
    "weight_decay_norm_anneal": True, "warmup_epochs": 5, "kl_anneal_portion": 0.3,
    "kl_const_coeff": 1e-4, "kl_const_portion": 1e-4, "num_process_per_node": 8, "num_proc_node": 1,
    "seed": 1,    "data": "/tmp/data", "distributed": True,
}  # fmt: skip
SHAPES = {"mnist": (1, 28, 28), "omniglot": (1, 28, 28), "celeba_64": (3, 64, 64), "cifar10": (3, 32, 32)}


def nvae_file(path: str = "checkpoint.pt", legacy: bool = False, **changes: Any) -> dict[str, Any]:
    """A small network of ours in the released layout; `changes` are to its arguments, "drop" one."""
    args = {**ARGS, **changes}
    binary = args["dataset"] in ("mnist", "omniglot")
    options = NVAEOptions(
        channels=args["num_channels_enc"], scales=args["num_latent_scales"],
        groups=args["num_groups_per_scale"], latent=2, preprocess_cells=1, postprocess_cells=1,
        cells_per_group_enc=1, cells_per_group_dec=1, cells=args["arch_instance"], flows=args["num_nf"],
        head="bernoulli" if binary else "gaussian" if args["num_mixture_dec"] == 1 else "logistic-mixture",
        mixtures=args["num_mixture_dec"], pad=2 if binary else 0,
    )  # fmt: skip
    network = build_nvae(options, SHAPES[args["dataset"]])
    for module in network.modules():  # statistics of a trained network
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    state = dict(network.state_dict())
    for name, module in network.named_modules():
        if type(module) is nn.Conv2d:
            state[f"{name}.weight_normalized"] = state[f"{name}.weight"]
    checkpoint = {
        "epoch": 5, "state_dict": state, "global_step": 4321, "args": argparse.Namespace(**args),
        "optimizer": torch.optim.Adamax(network.parameters()).state_dict(),
        "arch_instance": {"normal_enc": ["res_bnswish", "res_bnswish"]},
        "scheduler": {"T_max": 1.0, "eta_min": 1e-4, "base_lrs": [0.01]}, "grad_scalar": {"scale": 1024.0},
    }  # fmt: skip
    torch.save(checkpoint, path, _use_new_zipfile_serialization=not legacy)
    return checkpoint


def energy_file(path: str = "EBM_1500.pth", layout: str = "cifar10") -> dict[str, Any]:
    side = {"mnist": 28, "cifar10": 32, "celebahq256": 256}.get(layout, 64)
    energy = build_resnet(ResNetOptions(width=2, layout=layout), (3, side, side))
    adam = torch.optim.Adam(energy.parameters(), lr=5e-5, betas=(0.99, 0.999), weight_decay=3e-5)
    energy(torch.rand(2, 3, side, side)).sum().backward()
    adam.step()
    checkpoint = {"model": energy.state_dict(), "optimizer": adam.state_dict()}
    torch.save(checkpoint, path)
    return checkpoint


def igebm_file(
    path: str = "igebm.pt", classes: int | None = None, wrapped: bool = False
) -> dict[str, Tensor]:
    energy = build_igebm(IGEBMOptions(width=2, classes=classes, advance="always"), (3, 32, 32))
    state = dict(energy.state_dict())
    derived = {n.removesuffix("_orig"): t * 0.5 for n, t in state.items() if n.endswith("_orig")}
    torch.save({"model": {**state, **derived}} if wrapped else {**state, **derived}, path)
    return state


def images(channels: int = 3, file: str = "images.npz") -> None:
    rng = np.random.default_rng(0)
    np.savez(file, images=rng.integers(0, 256, (60, 32, 32, channels), dtype=np.uint8))
