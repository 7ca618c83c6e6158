"""Holding a network fixed while a chain runs through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from vaebm_toolkit.core.layers import NormalisedConv2d


@contextmanager
def frozen(module: nn.Module) -> Iterator[nn.Module]:
    """The module in eval mode, without weight gradients, normalised weights computed once.

    On leaving, each submodule is as it was before, also after an exception and when nested.
    """
    training = [(m, m.training) for m in module.modules()]
    trainable = [p for p in module.parameters() if p.requires_grad]
    convolutions = [m for m in module.modules() if isinstance(m, NormalisedConv2d) and m.holdable]
    held = [(m, m.held_weight) for m in convolutions]
    try:
        module.eval()
        for p in trainable:
            p.requires_grad_(False)
        with torch.no_grad():
            for m, _ in held:
                m.held_weight = m.normalised_weight()
        yield module
    finally:
        for m, weight in held:
            m.held_weight = weight
        for p in trainable:
            p.requires_grad_(True)
        for m, was_training in training:
            m.training = was_training


@contextmanager
def buffers_restored(module: nn.Module) -> Iterator[nn.Module]:
    """The module, whose buffers are put back on leaving: what moves them in between is forgotten."""
    before = [b.clone() for b in module.buffers()]
    try:
        yield module
    finally:
        with torch.no_grad():
            for b, value in zip(module.buffers(), before, strict=True):
                b.copy_(value)
