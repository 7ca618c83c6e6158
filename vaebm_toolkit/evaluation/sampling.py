"""Sampling from a generator, and from its product with an energy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.core import (
    EnergyFunction,
    Generator,
    RowStreams,
    Sampler,
    State,
    frozen,
    run_chain,
    standard_normal,
    stream,
    target_density,
    without_data_noise,
)
from vaebm_toolkit.core.chain import Observer

Bounds = tuple[float, float] | None


class Model(NamedTuple):
    """What samples come from. Without energy and sampler: the generator alone."""

    generator: Generator
    energy: EnergyFunction | None
    sampler: Sampler | None
    bounds: Bounds
    mean: bool
    """x is the decoder's mean at the final ε, as the released code saves it, or its sample"""

    def alone(self) -> Model:
        """The generator without the energy's correction."""
        return self._replace(energy=None, sampler=None)


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
    eps = standard_normal(model.generator.groups, n, rng, like)
    if model.energy is not None and model.sampler is not None:
        with frozen(model.energy):
            density = target_density(model.sampler, model.generator, model.energy)
            eps = run_chain(model.sampler, eps, density, rng, observe=observe)
    return decode(model, eps)


@torch.no_grad()
def decode(model: Model, eps: State) -> Tensor:
    x = model.generator.decode(without_data_noise(eps) if model.mean else eps).x
    return x if model.bounds is None else x.clamp(*model.bounds)
