"""What is replaced in a network so that it can be an energy."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

KINKED = {"ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "Hardtanh", "Hardswish", "HardSwish", "HardMish"}
"""Activations whose slope jumps, by the names of torch's and timm's classes."""
KINKED_GATES = {"Hardsigmoid", "HardSigmoid"}

GROUP = 16
"""Channels per group at least: of two values that are normalised together, only the sign is left."""


def smooth(network: nn.Module) -> None:
    """Activations with kinks become SiLU, h · sigmoid(h), and gates with kinks become sigmoids."""
    replace(network, lambda m: type(m).__name__ in KINKED, lambda m: nn.SiLU())
    replace(network, lambda m: type(m).__name__ in KINKED_GATES, lambda m: nn.Sigmoid())


def by_groups(network: nn.Module) -> None:
    """BatchNorm becomes GroupNorm (Wu & He, 2018) with its scales and offsets: rows are independent."""
    replace(network, lambda m: isinstance(m, BatchNorm), group_norm)


def group_norm(norm: BatchNorm) -> nn.Module:
    """The smallest groups of at least 16 channels that divide them evenly, or one group of all."""
    channels = norm.num_features
    size = next((s for s in range(GROUP, channels) if channels % s == 0), channels)
    group = nn.GroupNorm(channels // size, channels, eps=norm.eps, affine=norm.affine)
    if norm.affine:
        group.weight, group.bias = norm.weight, norm.bias
    # timm has layers that are BatchNorm, dropout and an activation in one
    rest = [m for m in norm.children() if not isinstance(m, nn.Identity)]
    return nn.Sequential(group, *rest) if rest else group


def replace(
    module: nn.Module, found: Callable[[nn.Module], bool], make: Callable[[nn.Module], nn.Module]
) -> None:
    """Put `make(m)` in the place of every submodule m that is `found`, under each of its names."""
    for name, child in module._modules.items():
        if child is None:
            continue
        if found(child):
            setattr(module, name, make(child))
        else:
            replace(child, found, make)


def batch_norms(network: nn.Module) -> list[BatchNorm]:
    return [m for m in network.modules() if isinstance(m, BatchNorm)]


def without_side_heads(network: nn.Module) -> None:
    """Take away the classifiers that googlenet and inception_v3 have for their own training."""
    for name in ("aux1", "aux2", "AuxLogits"):
        if getattr(network, name, None) is not None:
            setattr(network, name, None)
