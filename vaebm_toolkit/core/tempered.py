"""A generator at another temperature: its noise, scaled group by group."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vaebm_toolkit.core.interfaces import Decoded, Generator, State


def per_group(latent: Sequence[float], groups: int) -> tuple[float, ...]:
    """One temperature per latent group, from one for all or one each."""
    if len(latent) not in (1, groups):
        raise ValueError(f"{len(latent)} temperatures for {groups} latent groups; give 1 or {groups}.")
    return tuple(latent) * (groups if len(latent) == 1 else 1)


class Tempered(Generator):
    """T(t · ε): z_g = μ_g + t_g σ_g ε_g for every generator whose groups are affine in their noise."""

    def __init__(self, generator: Generator, latent: Sequence[float], head: float) -> None:
        super().__init__()
        self.generator = generator
        self.groups = generator.groups
        names = [name for name in self.groups if name != "x"]
        self.temperature = dict(zip(names, per_group(latent, len(names)), strict=True)) | {"x": head}

    def scaled(self, eps: State) -> State:
        return {name: self.temperature[name] * value for name, value in eps.items()}

    def decode(self, eps: State) -> Decoded:
        """T(t ε); the log-determinant gains Σ d_g log t_g (it is −∞ where a temperature is 0)."""
        x, log_det = self.generator.decode(self.scaled(eps))
        if log_det is None:
            return Decoded(x, None)
        return Decoded(x, log_det + self.log_scale())

    def log_scale(self) -> float:
        """Σ d_g log t_g"""
        return sum(math.prod(shape) * _log(self.temperature[name]) for name, shape in self.groups.items())

    def mean(self, eps: State) -> Tensor:
        return self.generator.mean(self.scaled(eps))

    def values(self, eps: State) -> State:
        return self.generator.values(self.scaled(eps))

    def noise(self, values: State) -> tuple[State, Tensor]:
        eps, log_det = self.generator.noise(values)
        return {name: v / self.temperature[name] for name, v in eps.items()}, log_det + self.log_scale()

    @property
    def invertible(self) -> bool:
        return self.generator.invertible and min(self.temperature.values()) > 0

    def check_reparametrised(self) -> None:
        self.generator.check_reparametrised()


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -torch.inf
