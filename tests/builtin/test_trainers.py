"""The two trainers: their losses are the formulas, and every option changes something."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from vaebm_langevin.kernel import LatentLangevin
from vaebm_langevin.options import LatentOptions
from vaebm_replay.buffer import ReplayBuffer
from vaebm_replay.options import ReplayOptions
from vaebm_toolkit.builtin.mlp import build_energy, build_generator
from vaebm_toolkit.builtin.networks import EnergyOptions, GeneratorOptions
from vaebm_toolkit.builtin.trainers import VaebmOptions, VaeOptions
from vaebm_toolkit.builtin.vae import VaeTrainer, balance, group_sizes, kl_coefficient, penalty_strength
from vaebm_toolkit.builtin.vaebm import VaebmTrainer
from vaebm_toolkit.core import Horizon, Trainer, stream

HORIZON = Horizon(steps=10, steps_per_epoch=5, batch_size=16)


def vae(**options: Any) -> VaeTrainer:
    """On a tiny NVAE, because the MLP has no convolutions to regularise."""
    from vaebm_nvae.network import build
    from vaebm_nvae.options import NVAEOptions

    torch.manual_seed(1)
    network = build(NVAEOptions(channels=4, groups=2, latent=2, cells_per_group_enc=1, cells_per_group_dec=1),
                    shape=(1, 8, 8))  # fmt: skip
    return VaeTrainer(VaeOptions(**options), HORIZON, network)


def vaebm(steps: int = 3, buffer: bool = True, **options: Any) -> VaebmTrainer:
    torch.manual_seed(1)
    return VaebmTrainer(
        VaebmOptions(**options),
        HORIZON,
        build_generator(GeneratorOptions(width=16, depth=1, latent=2), shape=(2,)),
        build_energy(EnergyOptions(width=16, depth=1), shape=(2,)),
        LatentLangevin(LatentOptions(steps=steps, step_size=0.05)),
        ReplayBuffer(ReplayOptions(capacity=64, anneal_steps=1)) if buffer else None,
    )


def resnet_vaebm(**options: Any) -> VaebmTrainer:
    from vaebm_igebm.options import ResNetOptions
    from vaebm_igebm.resnet import build

    torch.manual_seed(1)
    generator = build_generator(GeneratorOptions(width=16, depth=1, latent=2), shape=(1, 8, 8))
    energy = build(ResNetOptions(width=4), shape=(1, 8, 8))
    sampler = LatentLangevin(LatentOptions(steps=2, step_size=0.05))
    return VaebmTrainer(VaebmOptions(**options), HORIZON, generator, energy, sampler, None)


def run(trainer: Trainer, x: torch.Tensor, steps: int = 3, first: int = 0) -> list[dict[str, float]]:
    found = []
    for step in range(first, first + steps):
        for update in trainer.updates(x, step, stream(0, step)):
            optimizer = trainer.optimizers()[update.player]
            optimizer.zero_grad()
            update.loss.backward()
            optimizer.step()
            found.append(
                {
                    "loss": float(update.loss.detach()),
                    **{k: float(v.detach()) for k, v in update.metrics.items()},
                }
            )
    return found


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for m in trainer.networks().values() for p in m.parameters()])


def images(n: int = 16) -> torch.Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(2))


def points(n: int = 16) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(2))


# formulas


def test_kl_coefficient() -> None:
    assert kl_coefficient(0, 100, 0.3, 1e-4) == 1e-4
    assert kl_coefficient(15, 100, 0.3, 1e-4) == pytest.approx(0.5)
    assert kl_coefficient(30, 100, 0.3, 1e-4) == 1.0
    assert kl_coefficient(90, 1000, 0.3, 1e-4, 1e-4) == pytest.approx(0.2996666667)  # NVAE's own, at step 90


def test_annealed_penalty_is_geometric() -> None:
    assert penalty_strength(0.0, 1e-2, 10.0) == pytest.approx(10.0)
    assert penalty_strength(1.0, 1e-2, 10.0) == pytest.approx(1e-2)
    assert penalty_strength(0.5, 1e-2, 10.0) == pytest.approx(math.sqrt(1e-1))
    assert penalty_strength(0.5, 1e-2, None) == 1e-2


def test_balance_of_equal_terms_is_the_inverse_share() -> None:
    """Groups 2, 2, 5 from small to large: shares 1, 1, 4, 4, 6.4 × 5."""
    sizes = [16, 16, 64, 64] + 5 * [256]
    weights = balance(torch.ones(4, 9), sizes)
    share = torch.tensor([1.0, 1, 4, 4] + 5 * [6.4])
    torch.testing.assert_close(weights * share, (weights * share)[0].expand(9))
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))


def test_balance_is_detached_and_pushes_rich_groups_more() -> None:
    kl = torch.tensor([[1.0, 3.0]], requires_grad=True)
    weights = balance(kl, [4, 4])
    assert not weights.requires_grad
    torch.testing.assert_close(weights[1] / weights[0], torch.tensor(3.01 / 1.01))


def test_vae_loss_is_the_formula() -> None:
    trainer = vae(kl_balance=True, spectral_bn=0.1)
    reference = copy.deepcopy(trainer.generator)
    (update,) = trainer.updates(images(), 1, stream(0))
    elbo = reference.elbo(images(), stream(0))
    beta = (1 - 1e-4 * 10) / 3  # step 1 of 0.3 · 10
    c = balance(elbo.kl, group_sizes(reference))
    expected = (beta * (c * elbo.kl).sum(1) - elbo.log_px).mean() + 0.1 * update.metrics["penalty"]
    torch.testing.assert_close(update.loss, expected)


def test_vaebm_loss_is_the_formula_and_moves_the_energy_alone() -> None:
    trainer = vaebm(energy_l2=0.5, spectral=0.0)
    before = {k: v.clone() for k, v in trainer.generator.state_dict().items()}
    (update,) = trainer.updates(points(), 0, stream(0))
    assert all(p.grad is None for p in trainer.energy.parameters()), "the chain left weight gradients"
    m = update.metrics
    torch.testing.assert_close(m["energy_gap"], m["energy_data"] - m["energy_samples"])
    torch.testing.assert_close(m["energy_data"], trainer.energy(points()).mean())
    update.loss.backward()
    assert all(p.grad is not None for p in trainer.energy.parameters())
    assert all(p.grad is None for p in trainer.generator.parameters())
    assert all(torch.equal(v, before[k]) for k, v in trainer.generator.state_dict().items())


def test_gradient_is_that_of_the_contrast() -> None:
    """∂_ψ of the loss = mean ∂E(x⁺) − mean ∂E(x⁻) at the chain's end, nothing through the chain."""
    trainer = vaebm(spectral=0.0, buffer=False)
    end, _ = trainer.chain(points(), 0, stream(0))
    negatives = trainer.decode(end)
    (update,) = trainer.updates(points(), 0, stream(0))
    found = torch.autograd.grad(update.loss, list(trainer.energy.parameters()))
    contrast = trainer.energy(points()).mean() - trainer.energy(negatives).mean()
    torch.testing.assert_close(found, torch.autograd.grad(contrast, list(trainer.energy.parameters())))


def test_negatives_by_mean_have_no_data_noise() -> None:
    trainer = vaebm(negatives="mean", buffer=False)
    end, _ = trainer.chain(points(), 0, stream(0))
    other = {**end, "x": torch.randn_like(end["x"])}
    torch.testing.assert_close(trainer.decode(end), trainer.decode(other))


def test_prior_jumps_move_fresh_and_stored_chains() -> None:
    """None: the chain of before, to the bit. One in a flat energy: every start is drawn anew."""
    plain, same, jumping = (vaebm(steps=0, prior_jumps=n) for n in (0, 0, 1))
    ends = [t.chain(points(), 0, stream(0)) for t in (plain, same, jumping)]
    assert all(torch.equal(ends[0][0][k], ends[1][0][k]) for k in ("z0", "x"))
    assert "chain_jumps_accepted" not in ends[0][1]
    assert 0 < float(ends[2][1]["chain_jumps_accepted"]) < 1
    for p in jumping.energy.parameters():
        p.detach().zero_()
    end, found = jumping.chain(points(), 5, stream(1))
    assert float(found["chain_reused"]) > 0
    assert float(found["chain_jumps_accepted"]) == 1
    assert not torch.isclose(end["z0"], ends[2][0]["z0"]).any()


def test_an_energy_learns_which_of_two_sets_is_data() -> None:
    trainer = vaebm(steps=0, buffer=False, lr=1e-2, moment_clip=False)
    run(trainer, 5 + 0.1 * points(), steps=50)
    data, model = trainer.energy(5 + 0.1 * points()), trainer.energy(trainer.decode(
        trainer.chain(points(), 0, stream(1))[0]))  # fmt: skip
    assert data.mean() < model.mean() - 1


# every option changes something


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam"}, {"grad_clip": 0.1}, {"lr": 1e-3}, {"warmup_epochs": 0.0},
        {"weight_decay": 0.1}, {"kl_anneal": 0.9}, {"kl_start": 0.5}, {"kl_balance": False},
        {"spectral_bn": 0.0}, {"spectral_bn_start": 5.0},
    ],
    ids=str,
)  # fmt: skip
def test_vae_options(options: dict[str, Any]) -> None:
    base, other = vae(), vae(**options)
    run(base, images())
    run(other, images())
    assert not torch.equal(weights(base), weights(other))


def test_vae_learning_rate_ends_at_its_floor() -> None:
    trainer = vae(lr_min=3e-5, warmup_epochs=1.0)
    run(trainer, images(), steps=1, first=HORIZON.steps - 1)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(3e-5)


@pytest.mark.parametrize("options", [{"bn_passes": 3}, {"bn_passes": 3, "bn_batch_size": 4}], ids=str)
def test_bn_recalibration_happens_at_the_end(options: dict[str, Any]) -> None:
    base, other = vae(bn_passes=1), vae(**options)
    for trainer in (base, other):
        run(trainer, images(), steps=1)
        trainer.finish(stream(0))
    a, b = base.generator.state_dict(), other.generator.state_dict()
    assert any(not torch.equal(a[k], b[k]) for k in a if k.endswith("running_mean"))


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 1e-2}, {"lr_min": 0.0}, {"beta1": 0.5}, {"beta2": 0.9}, {"weight_decay": 0.5},
        {"spectral": 0.0}, {"energy_l2": 0.1}, {"negatives": "mean"}, {"ema": 0.5},
        {"prior_jumps": 2},
    ],
    ids=str,
)  # fmt: skip
def test_vaebm_options(options: dict[str, Any]) -> None:
    base, other = resnet_vaebm(), resnet_vaebm(**options)
    run(base, images())
    run(other, images())
    assert not torch.equal(weights(base), weights(other))


def test_moment_clip_bounds_a_sudden_gradient() -> None:
    base, other = resnet_vaebm(), resnet_vaebm(moment_clip=False)
    for trainer in (base, other):
        run(trainer, images(), steps=2)
        run(trainer, 50 * images(), steps=1, first=2)
    assert not torch.equal(weights(base), weights(other))


def test_data_dependent_initialisation() -> None:
    base, other = resnet_vaebm(), resnet_vaebm(init_batches=0)
    for trainer in (base, other):
        trainer.prepare(iter([images()] * 5), stream(0))
    assert not torch.equal(weights(base), weights(other))
    with torch.no_grad():
        first = base.energy.conv1(images())
    torch.testing.assert_close(first.mean((0, 2, 3)), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        first.transpose(0, 1).flatten(1).std(1), torch.full((4,), 0.2), rtol=0.01, atol=0
    )


def test_the_average_follows_the_energy() -> None:
    trainer = resnet_vaebm(ema=0.5, lr=1e-2)
    run(trainer, images(), steps=1)
    assert trainer.networks()["energy"] is trainer.average
    assert not torch.equal(
        weights(trainer), torch.cat([p.detach().flatten() for p in trainer.energy.parameters()])
    )
