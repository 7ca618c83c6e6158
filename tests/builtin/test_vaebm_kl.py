"""The trainer vaebm-kl: the energy as in vaebm, then the decoder's own update; what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vaebm_langevin.kernel import DataLangevin, LatentLangevin
from vaebm_langevin.options import DataOptions, LatentOptions
from vaebm_replay.buffer import ReplayBuffer
from vaebm_replay.options import ReplayOptions
from vaebm_toolkit import RecipeError
from vaebm_toolkit.builtin.moving_options import VaebmKlOptions
from vaebm_toolkit.builtin.trainers import VaebmOptions
from vaebm_toolkit.builtin.vaebm import VaebmTrainer
from vaebm_toolkit.builtin.vaebm_kl import VaebmKlTrainer
from vaebm_toolkit.core import EnergyFunction, Generator, Horizon, frozen, standard_normal, stream
from vaebm_toolkit.options import slots

from .moving import (
    HORIZON,
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
    weights,
)


def kl(
    generator: Generator | None = None, energy: EnergyFunction | None = None, horizon: Horizon = HORIZON,
    steps: int = 3, step_size: float = 0.05, **options: Any,
) -> VaebmKlTrainer:  # fmt: skip
    sampler = LatentLangevin(LatentOptions(steps=steps, step_size=step_size))
    return VaebmKlTrainer(
        VaebmKlOptions(**options),
        horizon,
        generator or mlp_generator(),
        energy or mlp_energy(),
        sampler,
        None,
    )


def on_images(**options: Any) -> VaebmKlTrainer:
    return kl(nvae(), resnet(), **options)


def test_defaults_are_the_published_settings() -> None:
    o = VaebmKlOptions()
    assert (o.lr, o.lr_min, o.generator_lr, o.generator_lr_min) == (5e-5, None, 5e-6, 0.0)
    assert (o.spectral, o.weight_decay, o.moment_clip, o.negatives) == (0.2, 3e-5, True, "sample")
    assert slots(VaebmKlOptions)["buffer"].default == "none"


def test_the_energys_first_update_is_vaebms() -> None:
    """Same noise, same chain, same loss: the decoder has not moved yet."""
    ours, theirs = (
        trainer.updates(points(), 0, stream(0))
        for trainer in (
            kl(lr=4e-5),
            VaebmTrainer(
                VaebmOptions(), HORIZON, mlp_generator(), mlp_energy(),
                LatentLangevin(LatentOptions(steps=3, step_size=0.05)), None,
            ),
        )
    )  # fmt: skip
    a, b = next(ours), next(theirs)
    assert (a.player, a.metrics.keys()) == (b.player, b.metrics.keys())
    assert torch.equal(a.loss, b.loss)


def test_the_decoders_update_is_the_formula() -> None:
    """mean E(T(ε)) with the energy that was just moved, ε fresh; weights of the energy are held."""
    trainer, rng = kl(), stream(0)
    updates = trainer.updates(points(), 0, rng)
    first = next(updates)
    first.loss.backward()
    assert all(p.grad is None for p in trainer.generator.parameters()), "the energy's loss is its own"
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    noise = torch.Generator()
    noise.set_state(rng.get_state())

    second = next(updates)
    assert second.player == "generator"
    x = trainer.generator.decode(standard_normal(trainer.generator.groups, 16, noise)).x
    torch.testing.assert_close(second.loss, trainer.energy(x).mean())
    decoder = list(trainer.generator.decoder.parameters())
    wanted = torch.autograd.grad(trainer.energy(x).mean(), decoder)
    second.loss.backward()
    torch.testing.assert_close([p.grad for p in decoder], list(wanted))
    assert all(p.grad is None and p.requires_grad for p in trainer.energy.parameters())
    assert next(updates, None) is None


def test_the_chain_follows_the_current_decoder() -> None:
    """After steps of the decoder, a chain of the trainer's equals one under the weights as they are."""
    trainer = on_images(generator_lr=1e-2)
    run(trainer, lambda _: images(), steps=2)
    end, _ = trainer.chain(images(), 2, stream(5))
    with frozen(trainer.generator), frozen(trainer.energy):
        sampler, state = trainer.sampler, trainer.start(images(), stream(5))
        rng = stream(5)
        standard_normal(trainer.generator.groups, 16, rng)  # what the start drew
        for _ in range(sampler.steps):
            state, _ = sampler.step(
                state,
                lambda eps: (
                    -trainer.energy(trainer.generator.decode(eps).x)
                    - 0.5 * sum(v.flatten(1).square().sum(1) for v in eps.values())
                ),
                rng,
            )
    for name, value in end.items():
        torch.testing.assert_close(value, state[name].detach(), rtol=1e-8, atol=1e-8)


def test_the_decoder_sees_the_energy_as_the_chain_does() -> None:
    """Its own sample even where negatives are means, within the bounds of a sampler that has them."""
    shape = (1, 8, 8)
    sampler = LatentLangevin(LatentOptions(steps=1, step_size=0.05, target="official"), (0.0, 1.0))
    trainer = VaebmKlTrainer(
        VaebmKlOptions(negatives="mean"), HORIZON, mlp_generator(shape), mlp_energy(shape), sampler, None
    )
    assert sampler.bounds == (0.0, 1.0)
    eps = standard_normal(trainer.generator.groups, 16, stream(0))
    x = trainer.generator.decode(eps).x
    assert x.max() > 1
    torch.testing.assert_close(trainer.generated_energy(eps), trainer.energy(x.clamp(0, 1)))


def test_what_decode_does_not_use_stays_bit_for_bit() -> None:
    check_that_decode_alone_learns(on_images(generator_lr=1e-3))


def test_a_buffer_is_refused() -> None:
    with pytest.raises(RecipeError, match="kept chains belong to an older one") as error:
        VaebmKlTrainer(
            VaebmKlOptions(), HORIZON, mlp_generator(), mlp_energy(),
            LatentLangevin(LatentOptions(steps=1)), ReplayBuffer(ReplayOptions(capacity=64)),
        )  # fmt: skip
    assert "--buffer none" in error.value.fix


def test_a_sampler_of_data_space_is_refused() -> None:
    sampler = DataLangevin(DataOptions(steps=1), None)
    with pytest.raises(RecipeError, match="the trainer vaebm-kl needs one that works in latent space"):
        VaebmKlTrainer(VaebmKlOptions(), HORIZON, mlp_generator(), mlp_energy(), sampler, None)


@pytest.mark.parametrize("generator", [mlp_generator().requires_grad_(False)], ids=["held"])
def test_a_generator_that_cannot_move_is_refused(generator: Generator) -> None:
    with pytest.raises(RecipeError, match="the trainer vaebm-kl moves the generator"):
        kl(generator)


def test_a_generator_that_is_not_differentiable_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"generator\.head"):
        kl(nvae("bernoulli"), resnet())


def test_learning_rates_follow_their_schedules() -> None:
    trainer = kl()
    rates = []
    for step in (0, 5, 9):
        list(trainer.updates(points(), step, stream(0)))
        rates.append([o.param_groups[0]["lr"] for o in trainer.optimizers().values()])
    assert [r[0] for r in rates] == [5e-5] * 3
    assert [r[1] for r in rates] == pytest.approx([5e-6, 2.5e-6, 5e-6 * 0.0244717], rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 1e-2}, {"lr_min": 0.0}, {"generator_lr": 1e-2}, {"generator_lr_min": 5e-6}, {"beta1": 0.5},
        {"beta2": 0.9}, {"generator_beta1": 0.9}, {"weight_decay": 0.5}, {"spectral": 0.0},
        {"energy_l2": 0.1}, {"negatives": "mean"}, {"ema": 0.5},
    ],
    ids=str,
)  # fmt: skip
def test_options(options: dict[str, Any]) -> None:
    base, other = (kl(mlp_generator((1, 8, 8)), resnet(), **o) for o in ({}, options))
    run(base, lambda _: images(), steps=3)
    run(other, lambda _: images(), steps=3)
    assert not torch.equal(weights(base), weights(other))


def test_averages_follow_both_networks() -> None:
    trainer = kl(ema=0.9, lr=1e-2, generator_lr=1e-2)
    run(trainer, lambda _: points(), steps=3)
    found = trainer.networks()
    assert found == {"energy": trainer.average, "generator": trainer.generator_average}
    for name, network in trainer.players.items():
        pairs = zip(found[name].parameters(), network.parameters(), strict=True)
        assert 0 < max(float((a - b).detach().abs().max()) for a, b in pairs) < 0.1


def test_state_continues_exactly() -> None:
    options = {"ema": 0.9, "lr": 1e-3, "generator_lr": 1e-3}
    whole, first, second = (on_images(**options) for _ in range(3))
    run(whole, lambda _: images(), steps=4)
    run(first, lambda _: images(), steps=2)
    second.load_state_dict(first.state_dict())
    run(second, lambda _: images(), steps=2, first=2)
    for name, network in {**whole.players, **whole.networks()}.items():
        other = {**second.players, **second.networks()}[name].state_dict()
        assert all(torch.equal(v, other[k]) for k, v in network.state_dict().items()), name


def test_the_decoder_moves_to_where_the_data_are() -> None:
    """To less than a quarter of the distance, with data of standard deviation 0.3."""
    generator, data = mlp_generator(width=32), points(1024, seed=9)
    before = sliced_wasserstein(made_by(generator), data)
    trainer = kl(
        generator, mlp_energy(width=32), Horizon(300, 10, 64), steps=5, lr=1e-2, generator_lr=1e-3, beta1=0.5
    )
    run(trainer, lambda step: points(64, seed=100 + step), steps=300)
    assert sliced_wasserstein(made_by(generator), data) < 0.25 * before
