"""Sampling from a generator, from its product with an energy, and from an energy alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.core import (
    EnergyFunction,
    Fitted,
    Generator,
    RowStreams,
    Sampler,
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

Bounds = tuple[float, float] | None


class Model(NamedTuple):
    """What samples come from. Without energy and sampler: the generator alone.

    A sampler in data space starts from the generator's samples, or without one from noise.
    """

    generator: Generator | None
    energy: EnergyFunction | None
    sampler: Sampler | None
    shape: tuple[int, ...]
    """of one example: (C, H, W) or (D,)"""
    bounds: Bounds
    mean: bool
    """x is the decoder's mean at the final ε, as the released code saves it, or its sample"""
    stretch: bool = False
    """each sample is stretched to its own minimum and maximum, as the released code saves images"""

    @property
    def fitted(self) -> Fitted:
        """The factors of the density; where chains run on data, the generator is only where they start."""
        if self.energy is None or self.sampler is None:
            return Fitted(self.generator, None)
        return Fitted(None if in_data_space(self) else self.generator, self.energy)

    @property
    def like(self) -> Tensor:
        """A tensor on the device and in the dtype of the chains."""
        module = self.generator if self.generator is not None else self.energy
        assert module is not None, "a model is a generator, an energy, or both"
        return next(module.parameters())


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
    if in_data_space(model):
        return generated(model.generator, model.bounds, n, rng, like)
    eps = standard_normal(model.generator.groups, n, rng, like)
    if model.sampler is not None and model.sampler.space == "joint":
        return model.generator.values(eps)
    return eps


@torch.no_grad()
def decode(model: Model, state: State) -> Tensor:
    """The data of a chain's end: T(ε) or the decoder's mean, or the state's x; within the bounds."""
    joint = model.sampler is not None and model.sampler.space == "joint"
    if model.generator is None or in_data_space(model) or (joint and not model.mean):
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


def in_data_space(model: Model) -> bool:
    return model.sampler is not None and model.sampler.space == "data"
