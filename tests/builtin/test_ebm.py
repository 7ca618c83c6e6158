"""The trainer ebm: its loss is the formula, chains start where they should, options change something."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vaebm_langevin.kernel import DataLangevin, LatentLangevin
from vaebm_langevin.options import DataOptions, LatentOptions
from vaebm_replay.buffer import ReplayBuffer
from vaebm_replay.options import ReplayOptions
from vaebm_toolkit import RecipeError
from vaebm_toolkit.builtin.ebm import EbmTrainer
from vaebm_toolkit.builtin.mlp import build_energy, build_generator
from vaebm_toolkit.builtin.networks import EnergyOptions, GeneratorOptions
from vaebm_toolkit.builtin.trainers import EbmOptions
from vaebm_toolkit.core import EnergyFunction, Horizon, Model, standard_normal, stream
from vaebm_toolkit.evaluation.sampling import sample, samples

HORIZON = Horizon(steps=10, steps_per_epoch=5, batch_size=16)
SHAPE = (1, 8, 8)


def ebm(
    energy: EnergyFunction | None = None, steps: int = 3, bounds: tuple[float, float] | None = (0.0, 1.0),
    reuse: float | None = None, clamp: bool = True, generator: bool = True, **options: Any,
) -> EbmTrainer:  # fmt: skip
    torch.manual_seed(1)
    sampler = DataLangevin(DataOptions(steps=steps, clamp=clamp), bounds)
    return EbmTrainer(
        EbmOptions(**options),
        HORIZON,
        generator=build_generator(GeneratorOptions(width=16, depth=1), shape=SHAPE) if generator else None,
        energy=energy or build_energy(EnergyOptions(width=16, depth=1), shape=SHAPE),
        sampler=sampler,
        buffer=ReplayBuffer(ReplayOptions(capacity=64, reuse=reuse, anneal_steps=0)) if reuse else None,
        dataset=SimpleNamespace(bounds=bounds),
    )


def resnet() -> EnergyFunction:
    from vaebm_igebm.options import ResNetOptions
    from vaebm_igebm.resnet import build

    torch.manual_seed(1)
    return build(ResNetOptions(width=4), SHAPE)


def igebm(**options: Any) -> EnergyFunction:
    from vaebm_igebm.igebm import build
    from vaebm_igebm.options import IGEBMOptions

    torch.manual_seed(1)
    return build(IGEBMOptions(width=4, **options), SHAPE)


def images(n: int = 16) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(2))


def run(trainer: EbmTrainer, steps: int = 3, first: int = 0, scale: float = 1.0) -> dict[str, Tensor]:
    metrics = {}
    for step in range(first, first + steps):
        for update in trainer.updates(scale * images(), step, stream(0, step)):
            trainer.optimizer.zero_grad()
            update.loss.backward()
            trainer.optimizer.step()
            metrics = dict(update.metrics)
    return metrics


def weights(trainer: EbmTrainer) -> Tensor:
    return torch.cat([p.detach().flatten() for m in trainer.networks().values() for p in m.parameters()])


def test_defaults_are_igebms():
    o = EbmOptions()
    assert (o.lr, o.beta1, o.beta2, o.energy_l2, o.start) == (1e-4, 0.0, 0.999, 1.0, "noise")
    assert (o.weight_decay, o.spectral, o.ema, o.moment_clip) == (0, 0, 0, True)


def test_loss_is_the_formula():
    """α mean(E(x⁺)² + E(x⁻)²) + mean E(x⁺) − mean E(x⁻), x⁻ the chain's end."""
    trainer = ebm(energy_l2=0.7)
    end, _ = trainer.chain(images(), 0, stream(0))
    (update,) = trainer.updates(images(), 0, stream(0))
    positive, negative = trainer.energy(images()), trainer.energy(end["x"])
    expected = 0.7 * (positive**2 + negative**2).mean() + positive.mean() - negative.mean()
    torch.testing.assert_close(update.loss, expected)
    found = torch.autograd.grad(update.loss, list(trainer.energy.parameters()))
    torch.testing.assert_close(found, torch.autograd.grad(expected, list(trainer.energy.parameters())))


def test_metrics_are_named_as_in_vaebm():
    metrics = run(ebm(resnet(), reuse=0.95, spectral=0.1), steps=1)
    assert set(metrics) == {
        "energy_gap", "energy_data", "energy_samples", "spectral", "chain_log_prob", "chain_grad_norm",
        "chain_reused", "chain_fill",
    }  # fmt: skip
    torch.testing.assert_close(metrics["energy_gap"], metrics["energy_data"] - metrics["energy_samples"])


def test_the_chain_leaves_no_weight_gradients():
    trainer = ebm()
    trainer.chain(images(), 0, stream(0))
    assert all(p.grad is None for p in trainer.energy.parameters())


def test_noise_is_uniform_over_the_datas_range():
    """Mean and variance of U(−1, 3), within 4 standard errors; also where the sampler does not clamp."""
    for clamp in (True, False):
        x = ebm(bounds=(-1.0, 3.0), clamp=clamp).start(images(200), stream(0))["x"]
        assert x.shape == (200, *SHAPE)
        assert -1 <= x.min() < -0.99
        assert 2.99 < x.max() <= 3
        n = x.numel()
        assert abs(x.mean() - 1) < 4 * (16 / 12 / n) ** 0.5
        assert abs(x.var() - 16 / 12) < 4 * (4**4 / 180 / n) ** 0.5


def test_noise_is_standard_normal_where_data_have_no_range():
    x = ebm(bounds=None).start(images(200), stream(0))["x"]
    assert abs(x.mean()) < 4 * x.numel() ** -0.5
    assert abs(x.var() - 1) < 4 * (2 / x.numel()) ** 0.5


def test_starts_from_the_generators_samples():
    """T(ε) within the data's range; the generator is no part of the density and is not trained."""
    trainer = ebm(start="generator", steps=0)
    assert trainer.generator is not None
    before = {k: v.clone() for k, v in trainer.generator.state_dict().items()}
    end, _ = trainer.chain(images(), 0, stream(3))
    x = trainer.generator.decode(standard_normal(trainer.generator.groups, 16, stream(3))).x.clamp(0, 1)
    assert torch.equal(end["x"], x)
    run(trainer, steps=1)
    assert all(torch.equal(v, before[k]) for k, v in trainer.generator.state_dict().items())


def test_noise_needs_no_generator_and_keeps_none():
    assert ebm(generator=False).generator is None
    assert ebm(generator=True).generator is None


def test_a_start_without_its_generator_is_refused():
    with pytest.raises(RecipeError, match=r"trainer\.start") as error:
        ebm(start="generator", generator=False)
    assert "--generator NAME" in error.value.fix


def test_a_sampler_of_latent_space_is_refused():
    trainer = ebm()
    with pytest.raises(RecipeError, match="the trainer ebm needs one that works in data space") as error:
        EbmTrainer(EbmOptions(), HORIZON, None, trainer.energy, LatentLangevin(LatentOptions()), None, None)
    assert "--sampler data-ld" in error.value.fix


def test_chains_continue_from_the_buffer():
    """Reuse 0.95 from the first step after the first: IGEBM's, without annealing."""
    trainer = ebm(reuse=0.95)
    assert run(trainer, steps=1)["chain_reused"] == 0
    assert run(trainer, steps=1, first=1)["chain_reused"] > 0.5


def test_an_energy_learns_which_of_two_sets_is_data():
    trainer = ebm(steps=0, lr=1e-2, energy_l2=0.01, moment_clip=False)
    run(trainer, steps=60, scale=0.3)
    noise = trainer.start(images(), stream(9))["x"]
    assert trainer.energy(0.3 * images()).mean() < trainer.energy(noise).mean() - 1


class Wells(EnergyFunction):
    """½ (x − 0.3)² / 0.01 summed: N(0.3, 0.1²) for each of 4 values."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * ((x - self.mean) / 0.1).square().flatten(1).sum(1)


def model(
    energy: EnergyFunction | None = None, generator: bool = False,
    shape: tuple[int, ...] = (4,), steps: int = 200,
) -> Model:  # fmt: skip
    bounds = (0.0, 1.0) if len(shape) == 3 else None
    sampler = DataLangevin(DataOptions(steps=steps, step_size=1e-3, noise_scale=None, grad_clip=None), bounds)
    made = build_generator(GeneratorOptions(width=16, depth=1), shape=shape) if generator else None
    return Model(made, energy or Wells(), sampler, shape, bounds, True)


def test_samples_of_an_energy_alone_have_its_density():
    """Mean and variance by the chain from noise: 0.3, and 0.1² / (1 − ηλ/4) with ηλ = 0.1."""
    x = sample(model(), 2000, stream(0))
    assert x.shape == (2000, 4)
    assert abs(x.mean() - 0.3) < 4 * 0.1 * 8000**-0.5
    variance = 0.01 / (1 - 0.1 / 4)
    assert abs(x.var() - variance) < 4 * variance * (2 / 8000) ** 0.5


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize("energy", ["mlp", "training", "always"])
def test_a_sample_depends_on_its_seed_and_number_alone(energy, generator):
    """Also where each call of the energy moves it: every batch starts from the energy as it was stored."""
    made = build_energy(EnergyOptions(width=16), shape=SHAPE) if energy == "mlp" else igebm(advance=energy)
    m = model(made.eval(), generator, SHAPE, steps=4)
    whole = torch.cat(list(samples(m, range(7), 0, 7, torch.device("cpu"), m.like)))
    split = torch.cat(list(samples(m, range(7), 0, 2, torch.device("cpu"), m.like)))
    late = torch.cat(list(samples(m, range(4, 7), 0, 3, torch.device("cpu"), m.like)))
    torch.testing.assert_close(whole, split, rtol=0, atol=1e-12)
    torch.testing.assert_close(whole[4:], late, rtol=0, atol=1e-12)
    assert not torch.equal(whole, torch.cat(list(samples(m, range(7), 1, 7, torch.device("cpu"), m.like))))


def test_test_time_chains_start_as_in_training():
    noise, generated = model(steps=0, shape=SHAPE), model(generator=True, steps=0, shape=SHAPE)
    trainer = ebm(start="generator", steps=0)
    assert torch.equal(sample(noise, 16, stream(5)), ebm().start(images(), stream(5))["x"])
    assert trainer.generator is not None
    trainer.generator.load_state_dict(generated.generator.state_dict())  # type: ignore[union-attr]
    assert torch.equal(sample(generated, 16, stream(5)), trainer.start(images(), stream(5))["x"])


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 1e-2}, {"lr_min": 0.0}, {"beta1": 0.5}, {"beta2": 0.9}, {"weight_decay": 0.5},
        {"spectral": 0.2}, {"energy_l2": 0.0}, {"ema": 0.5}, {"start": "generator"}, {"steps": 0},
        {"reuse": 0.95},
    ],
    ids=str,
)  # fmt: skip
def test_options(options: dict[str, Any]) -> None:
    base, other = ebm(resnet()), ebm(resnet(), **options)
    run(base)
    run(other)
    assert not torch.equal(weights(base), weights(other))


def test_moment_clip_bounds_a_sudden_gradient():
    base, other = ebm(resnet(), energy_l2=0.0), ebm(resnet(), energy_l2=0.0, moment_clip=False)
    for trainer in (base, other):
        run(trainer, steps=2)
        run(trainer, steps=1, first=2, scale=50)
    assert not torch.equal(weights(base), weights(other))


def test_data_dependent_initialisation():
    base, other = ebm(resnet()), ebm(resnet(), init_batches=0)
    for trainer in (base, other):
        trainer.prepare(iter([images()] * 5), stream(0))
    assert not torch.equal(weights(base), weights(other))


def test_state_continues_exactly():
    one, two = ebm(igebm(), reuse=0.95, ema=0.5), ebm(igebm(), reuse=0.95, ema=0.5)
    run(one, steps=3)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    run(one, steps=3, first=3)
    run(two, steps=3, first=3)
    assert torch.equal(weights(one), weights(two))
    u, v = one.energy.conv1.weight_u, two.energy.conv1.weight_u
    assert torch.equal(u, v)
