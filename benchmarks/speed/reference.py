"""The reference arrangement: these networks, executed as the released code executes them.

What makes it so: weight norm and spectral norm evaluated at every call, BatchNorm unfolded, swish as
x · sigmoid(x), contiguous tensors, float32; in a chain one `backward()` of the batch's mean that also
reaches the energy's weights, the state updated group by group in Python; freed memory goes back to the
system as the C library sees fit, where our commands keep it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebm_langevin.options import DataOptions, LatentOptions
from vaebm_toolkit.cli import process
from vaebm_toolkit.core import Autoencoder, EnergyFunction, State, randn_like


@contextmanager
def as_released() -> Iterator[None]:
    """Within the block networks run contiguously, swish is two operations, and freed memory is not kept."""
    with ExitStack() as stack:
        stack.enter_context(giving_memory_back())
        stack.enter_context(mock.patch.object(F, "silu", lambda x: x * torch.sigmoid(x)))
        stack.enter_context(mock.patch.object(torch, "channels_last", torch.contiguous_format))
        yield


@contextmanager
def giving_memory_back() -> Iterator[None]:
    """Where glibc's thresholds end by themselves after a few large blocks; kept again afterwards."""
    mallopt = process.c_function("mallopt")
    if mallopt is not None:
        mallopt(process.M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(process.M_TRIM_THRESHOLD, 64 * 2**20)
    try:
        yield
    finally:
        process.keep_freed_memory()


def latent_chain(
    generator: Autoencoder, energy: EnergyFunction, state: State, options: LatentOptions,
    rng: torch.Generator, steps: int,
) -> State:  # fmt: skip
    """ε ← ε − (η/2) B ∇ mean_b U + √η ω, U = E(x) − log p(z) − log p(x | z), x within [0, 1]."""
    state = {k: v.clone() for k, v in state.items()}
    for value in state.values():
        value.requires_grad_()
    for _ in range(steps):
        x, log_joint = generator.official_log_joint(state, (0.0, 1.0))
        (energy(x) - log_joint).mean().backward()
        for value in state.values():
            assert value.grad is not None
            noise = randn_like(value, rng)
            value.data.add_(value.grad, alpha=-options.step_size / 2 * len(value))
            value.data.add_(noise, alpha=math.sqrt(options.step_size))
            value.grad = None
    return {k: v.detach() for k, v in state.items()}


def data_chain(
    energy: EnergyFunction, x: Tensor, options: DataOptions, rng: torch.Generator, steps: int
) -> Tensor:
    """x ← clamp(x − (η/2) clip(∇ Σ E) + s ω), the energy's weights taking gradients too."""
    assert options.grad_clip is not None
    x = x.clone().requires_grad_()
    for _ in range(steps):
        energy(x).sum().backward()
        assert x.grad is not None
        noise = randn_like(x, rng)
        x.data.add_(x.grad.clamp(-options.grad_clip, options.grad_clip), alpha=-options.step_size / 2)
        x.data.add_(noise, alpha=options.noise).clamp_(0, 1)
        x.grad = None
    return x.detach()
