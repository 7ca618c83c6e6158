"""Sampling from a generator, from its product with an energy, and from an energy alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vaebm_toolkit.core import (
    Model,
    RowStreams,
    State,
    buffers_restored,
    data_noise,
    frozen,
    generated,
    run_chain,
    standard_normal,
    stream,
    target_density,
)
from vaebm_toolkit.core.chain import Observer


def samples(
    model: Model, indices: range, seed: int, batch_size: int, device: torch.device, like: Tensor | None = None
) -> Iterator[Tensor]:
    """Batches (B, *data shape). Sample i depends on (seed, i) alone, not on the batch size."""
    for start in range(indices.start, indices.stop, batch_size):
        chosen = range(start, min(start + batch_size, indices.stop))
        rng = RowStreams([stream(seed, "sample", i, device=device) for i in chosen])
        yield sample(model, len(chosen), rng, like)


def sample(
    model: Model, n: int, rng: torch.Generator, like: Tensor | None = None, observe: Observer | None = None
) -> Tensor:
    """n samples, (n, *data shape), within the data's bounds. No gradient."""
    state = chain_start(model, n, rng, like)
    if model.energy is not None and model.sampler is not None:
        # what a chain moves in the energy is put back, so that no batch depends on the one before
        with frozen(model.energy), buffers_restored(model.energy):
            density = target_density(model.sampler, model.generator, model.energy)
            state = run_chain(model.sampler, state, density, rng, observe=observe)
    return decode(model, state)


def chain_start(model: Model, n: int, rng: torch.Generator, like: Tensor | None) -> State:
    """n chain starts: ε ~ N(0, I), (z, x) at such an ε, or data, as the sampler works."""
    if model.generator is None:
        return data_noise(model.shape, model.bounds, n, rng, like)
    if model.in_data_space:
        return generated(model.generator, model.bounds, n, rng, like)
    eps = standard_normal(model.generator.groups, n, rng, like)
    if model.sampler is not None and model.sampler.space == "joint":
        return model.generator.values(eps)
    return eps


@torch.no_grad()
def decode(model: Model, state: State) -> Tensor:
    """The data of a chain's end: T(ε) or the decoder's mean, or the state's x; within the bounds."""
    joint = model.sampler is not None and model.sampler.space == "joint"
    if model.generator is None or model.in_data_space or (joint and not model.mean):
        x = state["x"]
    else:
        state = model.generator.noise(state)[0] if joint else state
        x = model.generator.mean(state) if model.mean else model.generator.decode(state).x
    if model.bounds is not None:
        x = x.clamp(*model.bounds)
        if model.stretch:
            x = stretched(x, model.bounds)
    return x


def stretched(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Each example's minimum and maximum moved to the bounds; a constant one becomes the lower bound."""
    flat = x.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    unit = (flat - low) / (high - low).clamp(min=1e-5)
    return (bounds[0] + (bounds[1] - bounds[0]) * unit).view_as(x)
