"""Holding a network fixed while a chain runs through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from vaebm_toolkit.core.layers import WeightNormConv2d


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """The module in eval mode, without weight gradients, normalised weights computed once."""
    training = module.training
    trainable = [p for p in module.parameters() if p.requires_grad]
    normalised = [m for m in module.modules() if isinstance(m, WeightNormConv2d)]
    module.eval()
    for p in trainable:
        p.requires_grad_(False)
    with torch.no_grad():
        for m in normalised:
            m.held_weight = m.normalised_weight()
    try:
        yield module
    finally:
        for m in normalised:
            m.held_weight = None
        for p in trainable:
            p.requires_grad_(True)
        module.train(training)
