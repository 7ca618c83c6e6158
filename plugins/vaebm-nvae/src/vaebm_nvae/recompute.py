"""Activations that are computed twice instead of being kept (Chen et al., 2016, arXiv 1604.06174)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


def recomputed(cell: nn.Module, x: Tensor) -> Tensor:
    """cell(x); until the backward pass only x is kept, and there the cell is computed again.

    The value, every gradient and what happens to buffers are those of cell(x): the second time works on
    copies of the buffers, so that running statistics move once. The cell must draw no random numbers.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():  # a compiler decides by itself
        return cell(x)
    again = False

    def compute(x: Tensor) -> Tensor:
        nonlocal again
        if not again:
            again = True
            return cell(x)
        return functional_call(cell, {name: b.clone() for name, b in cell.named_buffers()}, (x,))

    return checkpoint(compute, x, use_reentrant=False, preserve_rng_state=False)
