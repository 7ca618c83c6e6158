"""The trainer wgan: its two losses, who learns, what passes the discriminator, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vaebm_toolkit import RecipeError
from vaebm_toolkit.builtin.moving_options import WganOptions
from vaebm_toolkit.builtin.wgan import WganTrainer
from vaebm_toolkit.core import Decoded, EnergyFunction, Generator, Horizon, standard_normal, stream
from vaebm_toolkit.options import slots

from .moving import (
    HORIZON,
    changed,
    check_that_decode_alone_learns,
    images,
    made_by,
    mlp_energy,
    mlp_generator,
    nvae,
    points,
    resnet,
    run,
    sliced_wasserstein,
    snapshot,
    weights,
)  # fmt: skip


def wgan(
    generator: Generator | None = None, energy: EnergyFunction | None = None, horizon: Horizon = HORIZON,
    **options: Any,
) -> WganTrainer:  # fmt: skip
    return WganTrainer(WganOptions(**options), horizon, generator or mlp_generator(), energy or mlp_energy())


def on_images(**options: Any) -> WganTrainer:
    return wgan(nvae(), resnet(norm="spectral", batch_norm=True), **options)


def test_defaults_are_the_published_settings() -> None:
    o = WganOptions()
    assert (o.lr, o.lr_min, o.generator_lr, o.generator_lr_min) == (5e-5, None, 5e-6, 0.0)
    assert set(slots(WganOptions)) == {"generator", "energy"}


def test_losses_are_the_formulas() -> None:
    """mean E(x) − mean E(T(ε)), then mean E(T(ε)) with the energy that was moved, ε fresh for each."""
    trainer, rng = wgan(energy_l2=0.3), stream(4)
    noise = stream(4)
    updates = trainer.updates(points(), 0, rng)

    first = next(updates)
    fakes = trainer.generator.decode(standard_normal(trainer.generator.groups, 16, noise)).x
    real, fake = trainer.energy(points()), trainer.energy(fakes)
    expected = real.mean() - fake.mean() + 0.3 * (real**2 + fake**2).mean()
    assert first.player == "energy"
    torch.testing.assert_close(first.loss, expected)
    assert set(first.metrics) == {"energy_gap", "energy_data", "energy_samples"}
    torch.testing.assert_close(first.metrics["energy_gap"], real.mean() - fake.mean())
    first.loss.backward()
    assert all(p.grad is None for p in trainer.generator.parameters()), "the energy's loss is its own"
    trainer.energy_optimizer.step()
    trainer.energy_optimizer.zero_grad()

    second = next(updates)
    fakes = trainer.generator.decode(standard_normal(trainer.generator.groups, 16, noise)).x
    assert second.player == "generator"
    torch.testing.assert_close(second.loss, trainer.energy(fakes).mean())
    decoder = list(trainer.generator.decoder.parameters())
    wanted = torch.autograd.grad(trainer.energy(fakes).mean(), decoder)
    second.loss.backward()
    torch.testing.assert_close([p.grad for p in decoder], list(wanted))
    assert all(p.grad is None for p in trainer.energy.parameters()), "its weights are held"
    assert all(p.requires_grad for p in trainer.energy.parameters())
    assert next(updates, None) is None


def test_critic_steps_come_before_the_generators_with_fresh_noise() -> None:
    updates = list(wgan(critic_steps=3).updates(points(), 0, stream(0)))  # nothing is stepped
    assert [u.player for u in updates] == ["energy"] * 3 + ["generator"]
    assert len({float(u.metrics["energy_samples"].detach()) for u in updates[:3]}) == 3


def test_what_decode_does_not_use_stays_bit_for_bit() -> None:
    check_that_decode_alone_learns(on_images(generator_lr=1e-3))


def test_an_mlps_encoder_stays() -> None:
    trainer = wgan(generator_lr=1e-2)
    before = [p.clone() for p in trainer.generator.encoder.parameters()]
    run(trainer, lambda _: points(), steps=3)
    assert all(torch.equal(p, b) for p, b in zip(trainer.generator.encoder.parameters(), before, strict=True))
    assert all(p.grad is None for p in trainer.generator.encoder.parameters())


def test_the_generator_sees_an_energy_of_each_image_alone() -> None:
    """With batch normalisation by running statistics, which its update leaves; the energy's moves them."""
    trainer = on_images()
    run(trainer, lambda _: images(), steps=2)
    fakes = trainer.generated(images(), stream(0))
    before = snapshot(trainer.energy)
    together = trainer.generated_energy(fakes)
    alone = torch.cat([trainer.generated_energy(x[None]) for x in fakes])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)
    assert not changed(trainer.energy, before)
    assert trainer.energy.training
    next(trainer.updates(images(), 2, stream(0)))
    assert changed(trainer.energy, before) == {k for k, _ in trainer.energy.named_buffers()}


def test_data_and_samples_are_normalised_together() -> None:
    """The energy's loss compares values of one function: of one batch, not of two."""
    trainer = wgan(mlp_generator((1, 8, 8)), resnet(batch_norm=True))
    first = next(trainer.updates(images(), 0, stream(0)))
    with torch.no_grad():
        fakes = trainer.generated(images(), stream(0))
        energy = trainer.energy(torch.cat([images(), fakes]))
        torch.testing.assert_close(energy[:16].mean(), first.metrics["energy_data"].detach())
        assert abs(trainer.energy(images()).mean() - energy[:16].mean()) > 1e-3


def test_samples_reach_the_energy_as_decode_gives_them() -> None:
    """Out of the range of data too, where a clamp would leave no gradient."""

    class Outside(EnergyFunction):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * (x - x.clamp(0, 1)).square().flatten(1).sum(1)

    trainer = wgan(mlp_generator((1, 8, 8)), Outside(), generator_lr=1e-2)
    far = made_by(trainer.generator)
    before = (far - far.clamp(0, 1)).square().mean()
    assert before > 1e-3
    for step in range(20):
        *_, update = trainer.updates(images(), step % 10, stream(step))
        trainer.generator_optimizer.zero_grad()
        update.loss.backward()
        trainer.generator_optimizer.step()
    near = made_by(trainer.generator)
    assert (near - near.clamp(0, 1)).square().mean() < 0.5 * before


def test_negatives_by_mean_have_no_data_noise() -> None:
    trainer = wgan(negatives="mean")
    eps = standard_normal(trainer.generator.groups, 16, stream(0))
    torch.testing.assert_close(trainer.generated(points(), stream(0)), trainer.generator.mean(eps))


class Fixed(Generator):
    groups = {"z0": (2,), "x": (2,)}  # noqa: RUF012

    def decode(self, eps: dict[str, torch.Tensor]) -> Decoded:
        return Decoded(eps["z0"] + eps["x"], None)


class Aside(Fixed):
    """Its only weights are not used by decode."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 2)


@pytest.mark.parametrize("generator", [Fixed(), Aside(), mlp_generator().requires_grad_(False)], ids=str)
def test_a_generator_that_cannot_move_is_refused(generator: Generator) -> None:
    with pytest.raises(RecipeError, match="the trainer wgan moves the generator") as error:
        wgan(generator)
    assert "--trainer vaebm" in error.value.fix


def test_a_generator_that_is_not_differentiable_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"generator\.head"):
        wgan(nvae("bernoulli"), resnet())


def test_learning_rates_follow_their_schedules() -> None:
    """The energy's is constant; the generator's is a half cosine to 0."""
    trainer = wgan()
    rates = []
    for step in (0, 5, 9):
        list(trainer.updates(points(), step, stream(0)))
        rates.append([o.param_groups[0]["lr"] for o in trainer.optimizers().values()])
    assert [r[0] for r in rates] == [5e-5] * 3
    assert [r[1] for r in rates] == pytest.approx([5e-6, 2.5e-6, 5e-6 * 0.0244717], rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 1e-2}, {"lr_min": 0.0}, {"generator_lr": 1e-2}, {"generator_lr_min": 5e-6},
        {"critic_steps": 2}, {"beta1": 0.0}, {"beta2": 0.9}, {"weight_decay": 0.5}, {"spectral": 0.5},
        {"energy_l2": 1.0}, {"negatives": "mean"}, {"ema": 0.5},
    ],
    ids=str,
)  # fmt: skip
def test_options(options: dict[str, Any]) -> None:
    base, other = (wgan(mlp_generator((1, 8, 8)), resnet(), **o) for o in ({}, options))
    run(base, lambda _: images(), steps=3)
    run(other, lambda _: images(), steps=3)
    assert not torch.equal(weights(base), weights(other))


def test_data_dependent_initialisation() -> None:
    base, other = (wgan(energy=resnet(), init_batches=n) for n in (5, 0))
    for trainer in (base, other):
        trainer.prepare(iter([images()] * 5), stream(0))
    assert not torch.equal(weights(base), weights(other))


def test_the_average_follows_the_generator() -> None:
    trainer = wgan(ema=0.9, generator_lr=1e-2)
    run(trainer, lambda _: points(), steps=3)
    average = trainer.networks()["generator"]
    assert average is trainer.average
    assert 0 < (average.decoder[0].weight - trainer.generator.decoder[0].weight).abs().max() < 0.1
    assert torch.equal(average.encoder[0].weight, trainer.generator.encoder[0].weight)


def test_state_continues_exactly() -> None:
    options = {"ema": 0.9, "lr": 1e-3, "generator_lr": 1e-3, "spectral": 0.1}
    whole, first, second = (on_images(**options) for _ in range(3))
    run(whole, lambda _: images(), steps=4)
    run(first, lambda _: images(), steps=2)
    second.load_state_dict(first.state_dict())
    run(second, lambda _: images(), steps=2, first=2)
    for name, network in {**whole.players, **whole.networks()}.items():
        other = {**second.players, **second.networks()}[name].state_dict()
        assert all(torch.equal(v, other[k]) for k, v in network.state_dict().items()), name


def test_a_generator_moves_to_where_the_data_are() -> None:
    """To less than 0.15, with data of standard deviation 0.3."""
    generator, data = mlp_generator(width=32), points(1024, seed=9)
    before = sliced_wasserstein(made_by(generator), data)
    trainer = wgan(
        generator, mlp_energy(width=32), Horizon(300, 10, 64), lr=1e-2, generator_lr=2e-3, energy_l2=0.1
    )
    run(trainer, lambda step: points(64, seed=100 + step), steps=300)
    assert before > 0.9
    assert sliced_wasserstein(made_by(generator), data) < 0.15


@pytest.mark.slow
def test_images_move_to_where_the_data_are() -> None:
    """NVAE's decoder against the paper's discriminator: the mean image's squared distance falls."""

    def data(step: int) -> torch.Tensor:
        brightness = 0.2 + 0.3 * torch.rand(16, 1, 1, 1, generator=stream(4, step))
        return brightness + 0.3 * torch.randn(16, 1, 8, 8, generator=stream(3, step))

    discriminator = resnet(norm="spectral", batch_norm=True)
    trainer = wgan(nvae(), discriminator, Horizon(60, 10, 16), lr=1e-3, generator_lr=1e-3)
    before = (made_by(trainer.generator).mean(0) - 0.35).square().mean()
    run(trainer, data, steps=60)
    assert (made_by(trainer.generator).mean(0) - 0.35).square().mean() < 0.6 * before
