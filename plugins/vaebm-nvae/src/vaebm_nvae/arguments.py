"""The command line that a released NVAE checkpoint holds, read as untrusted values.

Names on the left of a `give` are ours, on the right theirs.
"""

from __future__ import annotations

import argparse
import re
import typing
from typing import Any, NamedTuple, TypeVar

from vaebm_nvae.options import Cells
from vaebm_toolkit import RunError

T = TypeVar("T", int, float, bool, str)

WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}
PADDED = 2  # 28 × 28 images are padded to 32 × 32 inside the released network
LARGEST = 4096


class Arguments:
    """Typed access to the Namespace; every refusal names the argument."""

    def __init__(self, namespace: argparse.Namespace, where: str) -> None:
        self.values, self.where = vars(namespace), where

    def give(self, kind: type[T], name: str, missing: T | None = None) -> T:
        """args.name, which must be of `kind`; `missing` stands in where there is no such argument."""
        if name not in self.values:
            if missing is None:
                raise RunError(
                    f"{self.where}: its arguments have no {name}, so it is not a checkpoint of NVAE's "
                    "released code.",
                    "Give a checkpoint.pt of NVlabs/NVAE or NVlabs/VAEBM.",
                )
            return missing
        value = self.values[name]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise RunError(
                f"{self.where}: its argument {name} is {shown(value)}, not {WORDS[kind]}.",
                "The file is damaged or not a checkpoint of NVAE's released code.",
            )
        return value

    def within(self, name: str, low: int, high: int, missing: int | None = None) -> int:
        """A whole number from `low` to `high`."""
        value = self.give(int, name, missing)
        if not low <= value <= high:
            raise RunError(
                f"{self.where}: its argument {name} is {shown(value)}, not from {low} to {high}.",
                "The file is damaged or not a checkpoint of NVAE's released code.",
            )
        return value

    def cells(self) -> str:
        arch, known = self.give(str, "arch_instance"), typing.get_args(Cells)
        if arch == "res_mbconv9":
            raise RunError(
                f"{self.where}: its cells are res_mbconv9, whose operations the released code lacks.",
                f"Import a checkpoint with one of {', '.join(known)}.",
            )
        if arch not in known:
            raise RunError(
                f"{self.where}: its argument arch_instance is {shown(arch)}, which is no cell type of NVAE.",
                f"Import a checkpoint with one of {', '.join(known)}.",
            )
        return arch


class Data(NamedTuple):
    """The data set of a checkpoint, and how its images enter the network."""

    table: dict[str, Any]
    colours: int
    side: int
    pad: int = 0
    """black pixels added on every side inside the network"""
    binary: bool = False


def data(args: Arguments, bits: int) -> Data:
    """Our data set for `args.dataset`; the image's size is in its name."""
    name = args.give(str, "dataset")
    kept: dict[str, Any] = {"bits": bits} if bits != 8 else {}
    if name == "cifar10":
        return Data({"name": "cifar10", **kept}, 3, 32)
    if name == "mnist":
        return Data({"name": "mnist", "binarise": True}, 1, 28, PADDED, binary=True)
    if name == "omniglot":
        return Data({"name": "image-folder", "size": 28, "channels": "grey"}, 1, 28, PADDED, binary=True)
    if name == "stacked_mnist":
        return Data({"name": "image-folder", "size": 28, "channels": "rgb", **kept}, 3, 28, PADDED)
    sized = re.fullmatch(r"(celeba|imagenet|lsun_([a-z]+))_(\d{1,4})", name)
    side = 256 if name == "ffhq" else int(sized[3]) if sized else 0
    if not 1 <= side <= LARGEST:
        raise RunError(
            f"{args.where}: its data set is {shown(name)}, whose images' size is not known.",
            "Known: cifar10, mnist, omniglot, stacked_mnist, ffhq, and celeba_SIZE, imagenet_SIZE, "
            "lsun_CATEGORY_SIZE.",
        )
    if sized and sized[2]:
        category = {"church": "church_outdoor"}.get(sized[2], sized[2])
        return Data({"name": "lsun", "category": category, "size": side, **kept}, 3, side)
    if name == "celeba_64":
        return Data({"name": "celeba", "size": side, **kept}, 3, side)
    return Data({"name": "image-folder", "size": side, "channels": "rgb", "flip": True, **kept}, 3, side)


def pretrain(args: Arguments) -> dict[str, Any]:
    """The stage that trained the generator, in the words of the trainer vae."""
    processes = args.within("num_process_per_node", 1, 4096, 1) * args.within("num_proc_node", 1, 4096, 1)
    annealed = args.give(bool, "weight_decay_norm_anneal", False)
    start = args.give(float, "weight_decay_norm_init", 10.0)
    return {
        "name": "vae",
        "optimizer": "adamax",
        "epochs": args.within("epochs", 0, 10**6, 200),
        "batch_size": args.within("batch_size", 1, 10**6, 200) * processes,
        "lr": args.give(float, "learning_rate", 1e-2),
        "lr_min": args.give(float, "learning_rate_min", 1e-4),
        "warmup_epochs": float(args.within("warmup_epochs", 0, 10**6, 5)),
        "weight_decay": args.give(float, "weight_decay", 3e-4),
        "kl_anneal": args.give(float, "kl_anneal_portion", 0.3),
        "kl_constant": args.give(float, "kl_const_portion", 1e-4),
        "kl_start": args.give(float, "kl_const_coeff", 1e-4),
        "spectral_bn": args.give(float, "weight_decay_norm", 0.0),
        "spectral_bn_start": start if annealed else "none",
    }


def shown(value: Any) -> str:
    """A value out of an untrusted file as one short line."""
    text = ascii(value) if isinstance(value, (bool, int, float, str)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:59] + "…"
