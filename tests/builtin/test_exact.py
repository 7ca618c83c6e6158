"""The trainer vaebm-exact: its gradient is that of mean E(x⁺) + log Z, log Z by quadrature."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from vaebm_langevin.kernel import DataLangevin, LatentLangevin
from vaebm_langevin.options import DataOptions, LatentOptions
from vaebm_toolkit import RecipeError
from vaebm_toolkit.builtin.exact import ExactTrainer
from vaebm_toolkit.builtin.mlp import build_energy
from vaebm_toolkit.builtin.networks import EnergyOptions
from vaebm_toolkit.builtin.trainers import VaebmExactOptions
from vaebm_toolkit.core import Decoded, Generator, Horizon, State, stream
from vaebm_toolkit.evaluation.density import lattice

HORIZON = Horizon(steps=10, steps_per_epoch=5, batch_size=16)
LOADING, SIGMA = torch.tensor([[0.8, 0.3], [-0.2, 0.5]], dtype=torch.float64), 0.4


class Affine(Generator):
    """x = W z + σ ε: p(x) = N(0, W Wᵀ + σ²)."""

    def __init__(self, shape: tuple[int, ...] = (2,)) -> None:
        super().__init__()
        self.groups = {"z0": (2,), "x": shape}

    def decode(self, eps: State) -> Decoded:
        x = eps["z0"] @ LOADING.T + SIGMA * eps["x"]
        return Decoded(x, torch.full((len(x),), 2 * math.log(SIGMA)))

    def log_prob(self, x: Tensor) -> Tensor:
        covariance = LOADING @ LOADING.T + SIGMA**2 * torch.eye(2)
        return MultivariateNormal(torch.zeros(2), covariance).log_prob(x)


def exact(generator: Generator | None = None, sampler: Any = None, **options: Any) -> ExactTrainer:
    torch.manual_seed(1)
    energy = build_energy(EnergyOptions(width=8, depth=1), shape=(2,))
    sampler = sampler or LatentLangevin(LatentOptions(steps=2, step_size=0.05))
    return ExactTrainer(VaebmExactOptions(**options), HORIZON, generator or Affine(), energy, sampler)


def points(n: int = 16) -> Tensor:
    return 0.5 + 0.3 * torch.randn(n, 2, generator=torch.Generator().manual_seed(2))


def flat(gradients: Any) -> Tensor:
    return torch.cat([g.flatten() for g in gradients])


def weights(trainer: ExactTrainer) -> Tensor:
    return flat(p.detach() for p in trainer.networks()["energy"].parameters())


def objective(trainer: ExactTrainer, x: Tensor) -> Tensor:
    """mean E(x) + log ∫ p_θ exp(−E), by the trapezoidal rule."""
    grid = lattice(torch.tensor([[-7.0, -7.0], [7.0, 7.0]]), 0.1, 0.0)
    density = trainer.generator.log_prob(grid.points) - trainer.energy(grid.points)
    return trainer.energy(x).mean() + torch.logsumexp(density, 0) + 2 * math.log(grid.spacing)


def test_gradient_is_that_of_the_exact_objective() -> None:
    """Each weight's within 4.5 standard errors of autograd's over 40 draws; together of size 1."""
    trainer = exact(draws=4096)
    moved = list(trainer.energy.parameters())
    with torch.no_grad():
        for w in moved:
            w.mul_(2.0)  # an energy with some shape
    truth = flat(torch.autograd.grad(objective(trainer, points()), moved))
    losses = (next(trainer.updates(points(), 0, stream(0, k))).loss for k in range(40))
    found = torch.stack([flat(torch.autograd.grad(loss, moved)) for loss in losses])
    error = found.std(0) / 40**0.5
    moving = error > 1e-12  # the output's bias cancels between the phases
    assert moving.sum() == len(truth) - 1
    torch.testing.assert_close(found.mean(0)[~moving], truth[~moving], atol=1e-12, rtol=0)
    z = ((found.mean(0) - truth) / error)[moving]
    assert z.abs().max() < 4.5
    assert float(error[moving].norm() / truth.norm()) < 0.05, "the comparison is sharp"


def test_metrics_are_those_of_the_other_energy_trainers() -> None:
    trainer = exact(draws=64)
    (update,) = trainer.updates(points(), 0, stream(0))
    m = update.metrics
    assert set(m) == {"energy_gap", "energy_data", "energy_samples", "effective_sample_size"}
    torch.testing.assert_close(m["energy_gap"], m["energy_data"] - m["energy_samples"])
    assert 1 <= float(m["effective_sample_size"]) <= 64


def test_a_flat_energy_weighs_all_draws_alike() -> None:
    trainer = exact(draws=64)
    with torch.no_grad():
        for w in trainer.energy.parameters():
            w.zero_()
    (update,) = trainer.updates(points(), 0, stream(0))
    assert float(update.metrics["effective_sample_size"]) == pytest.approx(64)
    mean, _ = trainer.expectation(torch.zeros(64))
    assert float(mean) == 0


def run(trainer: ExactTrainer, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        for update in trainer.updates(points(), step, stream(0, step)):
            trainer.optimizer.zero_grad()
            update.loss.backward()
            trainer.optimizer.step()


def test_training_lowers_the_exact_objective() -> None:
    trainer = exact(lr=1e-2, draws=1000)
    before = float(objective(trainer, points()).detach())
    run(trainer, 10)
    assert float(objective(trainer, points()).detach()) < before - 0.02


def test_continued_equals_uninterrupted() -> None:
    whole, part = exact(draws=64, lr=1e-2), exact(draws=64, lr=1e-2)
    run(whole, 6)
    run(part, 3)
    again = exact(draws=64, lr=1e-2)
    again.load_state_dict(copy.deepcopy(part.state_dict()))
    run(again, 3, first=3)
    assert torch.equal(weights(again), weights(whole))


@pytest.mark.parametrize(
    "options",
    [
        {"draws": 32}, {"lr": 1e-4}, {"lr_min": None}, {"beta1": 0.5}, {"beta2": 0.9}, {"weight_decay": 0.5},
        {"energy_l2": 0.1}, {"ema": 0.0},
    ],
    ids=str,
)  # fmt: skip
def test_every_option_changes_something(options: dict[str, Any]) -> None:
    base, other = exact(**{"draws": 64}), exact(**{"draws": 64, **options})
    run(base, 3)
    run(other, 3)
    assert not torch.equal(weights(base), weights(other))


def test_what_it_refuses() -> None:
    with pytest.raises(RecipeError, match="at most 16 values, and these have 64") as e:
        exact(Affine((1, 8, 8)))
    assert "--trainer vaebm" in e.value.fix
    with pytest.raises(RecipeError, match="works in latent space"):
        exact(sampler=DataLangevin(DataOptions(steps=1)))

    class Discrete(Affine):
        def check_reparametrised(self) -> None:
            raise RecipeError("x is discrete")

    with pytest.raises(RecipeError, match="x is discrete"):
        exact(Discrete())
