"""Several processes compute what one computes on the larger batch: every figure to rounding, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vaebm_toolkit.builtin.moving_options import WganOptions
from vaebm_toolkit.builtin.trainers import VaebmOptions, VaeOptions
from vaebm_toolkit.builtin.vae import VaeTrainer, balance
from vaebm_toolkit.builtin.vaebm import VaebmTrainer
from vaebm_toolkit.builtin.wgan import WganTrainer
from vaebm_toolkit.core import Horizon, RowStreams, SpectralPenalty, Trainer, WeightNormConv2d, ranks, stream
from vaebm_toolkit.core.batch_norm import synchronised
from vaebm_toolkit.registry import installed, load_factory
from vaebm_toolkit.training.fit import take_step

from .group import default_dtype, together

WORLDS = (2, 4)
ROWS, STEPS = 8, 3


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def normalised() -> dict[str, Any]:
    """BatchNorm in training: output, gradients of weights and of the input, running statistics."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5, momentum=0.05), nn.SiLU(), nn.Conv2d(5, 4, 2),
                        nn.BatchNorm2d(4, affine=False, momentum=None), nn.Flatten(), nn.Linear(36, 6),
                        nn.BatchNorm1d(6, track_running_stats=False))  # fmt: skip
    whole = 3 + 10 * seeded(ROWS, 3, 6, 6)
    target = seeded(ROWS, 6)[ranks.share(ROWS)]
    x = whole[ranks.share(ROWS)].clone().requires_grad_()
    with synchronised([net]):
        for _ in range(2):
            net.zero_grad()
            x.grad = None
            y = net(x)
            (y * target).square().sum(1).mean().backward()
            ranks.average_gradients(net.parameters())
        assert not net.eval()(x).isnan().any()
    grads = {name: p.grad for name, p in net.named_parameters()}
    out = {
        "y": torch.cat(ranks.gathered(y.detach())),
        "dx": torch.cat(ranks.gathered(x.grad)) / ranks.world(),
    }
    return {**out, **grads, **{k: v.double() for k, v in net.named_buffers()}}


def spectral() -> dict[str, Any]:
    """The penalty's mean over the ranks, its gradient, its power-iteration vectors."""
    torch.manual_seed(1)
    net = nn.Sequential(WeightNormConv2d(3, 6, 3), WeightNormConv2d(6, 6, 3), WeightNormConv2d(6, 6, 3),
                        nn.Conv2d(6, 4, 1), nn.Conv2d(4, 9, 2))  # fmt: skip
    penalty = SpectralPenalty(net)
    for _ in range(2):
        net.zero_grad()
        value = penalty()
        if value.requires_grad:
            value.backward()
        ranks.average_gradients(net.parameters())
    state = penalty.state_dict()
    again = SpectralPenalty(net)
    again.load_state_dict(state)
    out = {
        "value": ranks.mean(value.detach()),
        "shapes": torch.tensor(sorted(map(len, ranks.gathered(penalty.mine())))),
    }
    out |= {f"grad {name}": p.grad for name, p in net.named_parameters() if p.grad is not None}
    out |= {f"{side} {shape}": v for side in state for shape, v in sorted(state[side].items())}
    return {**out, "again": ranks.mean(again().detach())}


def balanced() -> dict[str, Any]:
    return {"weights": balance(seeded(ROWS, 3)[ranks.share(ROWS)], [4, 4, 16])}


def gradients() -> dict[str, Any]:
    """Missing on one rank, missing everywhere, of two dtypes, in several buckets."""
    weights = [nn.Parameter(torch.zeros(4, dtype=d)) for d in (torch.float64, torch.float32, torch.float64)]
    weights += [nn.Parameter(torch.zeros(3, 2))]
    if ranks.rank() == 0:
        weights[0].grad = torch.full((4,), float(ranks.world()), dtype=torch.float64)
    weights[1].grad = torch.ones(4, dtype=torch.float32)
    weights[3].grad = torch.arange(6.0).view(2, 3).t()
    before, ranks.BUCKET = ranks.BUCKET, 16
    ranks.average_gradients(weights)
    ranks.BUCKET = before
    assert weights[2].grad is None
    return {str(i): w.grad for i, w in enumerate(weights) if w.grad is not None}


def part(kind: str, name: str, **options: Any) -> Any:
    component = installed().find(kind, name)
    return load_factory(component), component.component.options(**options)


def nvae() -> Any:
    build, options = part("generator", "nvae", channels=4, groups=2, latent=2, preprocess_cells=1,
                          postprocess_cells=1, cells_per_group_enc=1, cells_per_group_dec=1)  # fmt: skip
    torch.manual_seed(0)
    return build(options, shape=(1, 8, 8))


def trained(trainer: Trainer) -> dict[str, Any]:
    """Weights and statistics after some steps; each row has noise of its own, whatever rank it is on."""
    rows = range(ROWS)[ranks.share(ROWS)]
    found: dict[str, Any] = {}
    with synchronised(trainer.players.values()):
        for step in range(STEPS):
            x = torch.rand(ROWS, 1, 8, 8, generator=stream(0, "x", step))[ranks.share(ROWS)]
            rng = RowStreams([stream(0, "noise", step, i) for i in rows])
            metrics = take_step(trainer, x, step, rng, torch.enable_grad, True)
            found |= {f"{k} {step}": ranks.mean(v.double()) for k, v in metrics.items()}
    for player, module in trainer.players.items():
        found |= {f"{player}/{k}": v.double() for k, v in module.state_dict().items()}
    return found


def first_stage() -> dict[str, Any]:
    options = VaeOptions(spectral_bn=0.1, grad_clip=50.0, warmup_epochs=0.0)
    return trained(VaeTrainer(options, Horizon(10, 5, ROWS), nvae().train()))


def second_stage() -> dict[str, Any]:
    build, options = part("energy", "resnet", width=4)
    sampler, chain = part("sampler", "latent-ld", steps=2, step_size=1e-2)
    torch.manual_seed(0)
    energy = build(options, shape=(1, 8, 8))
    given = VaebmOptions(lr=1e-3, energy_l2=0.1, ema=0.9)
    made = VaebmTrainer(
        given, Horizon(10, 5, ROWS), nvae().eval(), energy, sampler(chain, bounds=(0, 1)), None
    )
    return trained(made)


def adversarial() -> dict[str, Any]:
    """Two players; the energy normalises data and samples together, by the batch."""
    build, options = part("energy", "resnet", width=4, batch_norm=True)
    torch.manual_seed(0)
    energy = build(options, shape=(1, 8, 8))
    given = WganOptions(critic_steps=2, spectral=0.1, ema=0.9)
    return trained(WganTrainer(given, Horizon(10, 5, ROWS), nvae().eval(), energy))


WORK = {
    f.__name__: f for f in (normalised, spectral, balanced, gradients, first_stage, second_stage, adversarial)
}
TOLERANCE = {"first_stage": 1e-9, "second_stage": 1e-9, "adversarial": 1e-9}


def everything() -> dict[str, dict[str, Any]]:
    return {name: work() for name, work in WORK.items()}


@pytest.fixture(scope="module")
def single() -> dict[str, dict[str, Any]]:
    with default_dtype(torch.float64):
        return everything()


@pytest.mark.parametrize("world", WORLDS)
def test_ranks_together_compute_what_one_process_does(world: int, single: dict[str, dict[str, Any]]) -> None:
    for rank, found in enumerate(together(world, everything)):
        for name, wanted in single.items():
            assert list(found[name]) == list(wanted)
            for key, value in wanted.items():
                if key == "shapes":
                    assert found[name][key].sum() == value.sum()
                    continue
                error = float(
                    (found[name][key].double() - value.double()).abs().max() / (1 + value.abs().max())
                )
                assert error <= TOLERANCE.get(name, 1e-12), f"{name}, {key}, rank {rank}: {error:.1e}"


def test_rows_that_cannot_be_shared() -> None:
    with pytest.raises(AssertionError, match="10 rows cannot be shared evenly by 4 ranks"):
        together(4, ranks.share, 10)
