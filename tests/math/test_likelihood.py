"""Bounds on log p(x), on a model where log p(x) is known."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from vaebm_toolkit.core import Autoencoder, Decoded, Elbo, Split, State, randn, stream
from vaebm_toolkit.evaluation.likelihood import active, likelihood

SIGMA = 0.5


class Linear(Autoencoder):
    """z ~ N(0, 1), x = z + σ ε_x: p(x) = N(0, 1 + σ²), q(z|x) = N(m x, s²), exact where m = 1/(1 + σ²)."""

    groups: ClassVar[dict[str, tuple[int, ...]]] = {"z0": (1,), "x": (1,)}

    def __init__(self, slope: float, spread: float) -> None:
        super().__init__()
        self.slope, self.spread = slope, spread

    def decode(self, eps: State) -> Decoded:
        return Decoded(eps["z0"] + SIGMA * eps["x"], torch.full((len(eps["x"]),), math.log(SIGMA)))

    def posterior(self, x: Tensor, rng: torch.Generator) -> Tensor:
        return self.slope * x + self.spread * randn(x.shape, rng, like=x)

    def elbo(self, x: Tensor, rng: torch.Generator) -> Elbo:
        z = self.posterior(x, rng)
        mean, s = self.slope * x, self.spread
        kl = 0.5 * (mean.square() + s**2 - 1) - math.log(s)
        return Elbo(normal(x, z, SIGMA), kl)

    def encode(self, x: Tensor, rng: torch.Generator) -> State:
        z = self.posterior(x, rng)
        return {"z0": z, "x": (x - z) / SIGMA}

    def log_weight(self, x: Tensor, rng: torch.Generator) -> Tensor:
        z = self.posterior(x, rng)
        return normal(x, z, SIGMA) + normal(z, 0, 1) - normal(z, self.slope * x, self.spread)

    def kl_units(self, x: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        return {"z0": self.elbo(x, rng).kl.mean(0)}


def normal(x: Tensor, mean: Tensor | float, sigma: float) -> Tensor:
    return (-0.5 * ((x - mean) / sigma) ** 2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)).sum(1)


class Points(Split):
    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        return self.x[indices]


def measured(model: Autoencoder, data: Points, draws: int = 0, batch_size: int = 64):
    return likelihood(
        model, data, examples=len(data), weighted=len(data), draws=draws, seed=0,
        batch_size=batch_size, device=torch.device("cpu"),
    )  # fmt: skip


@pytest.fixture
def data() -> Points:
    return Points((1 + SIGMA**2) ** 0.5 * torch.randn(400, 1, generator=stream(1)))


@pytest.fixture
def truth(data: Points) -> float:
    return float(normal(data.x, 0, (1 + SIGMA**2) ** 0.5).mean())


def test_with_the_exact_posterior_every_weight_is_the_density(data: Points, truth: float) -> None:
    exact = Linear(1 / (1 + SIGMA**2), SIGMA / (1 + SIGMA**2) ** 0.5)
    found = measured(exact, data, draws=3)
    assert found.importance is not None
    assert abs(found.importance.nats - truth) < 1e-12
    assert abs(found.elbo.nats - truth) < 4 * found.elbo.error


def test_more_weights_are_a_tighter_bound_that_reaches_the_density(data: Points, truth: float) -> None:
    rough = Linear(0.6, 0.6)
    bounds = [measured(rough, data, draws=k).importance for k in (1, 10, 500)]
    values = [b.nats for b in bounds if b is not None]
    assert values[0] < values[1] < values[2] < truth + 0.01
    assert truth - values[2] < 0.01
    assert measured(rough, data).elbo.nats < truth


def test_nothing_depends_on_the_batch_size(data: Points) -> None:
    a, b = (measured(Linear(0.6, 0.6), data, draws=2, batch_size=size) for size in (7, 400))
    torch.testing.assert_close(torch.tensor([a.elbo.nats, *a.kl]), torch.tensor([b.elbo.nats, *b.kl]))
    assert a.importance is not None
    assert b.importance is not None
    torch.testing.assert_close(a.importance.nats, b.importance.nats)
    torch.testing.assert_close(a.units["z0"], b.units["z0"])


def test_active_units() -> None:
    assert active({"z0": torch.tensor([0.0, 0.2, 3.0]), "z1": torch.zeros(2)}, 0.1) == {"z0": 2, "z1": 0}
