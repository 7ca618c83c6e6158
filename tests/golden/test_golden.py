"""Our networks, chain and update against the released implementations' values (README beside this)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebm_igebm import igebm, resnet
from vaebm_igebm.options import IGEBMOptions, ResNetOptions
from vaebm_langevin import kernel
from vaebm_langevin.options import LatentOptions
from vaebm_nvae import network
from vaebm_nvae.network import NVAE
from vaebm_nvae.options import NVAEOptions
from vaebm_toolkit.builtin.trainers import VaebmOptions
from vaebm_toolkit.builtin.vae import balance, group_sizes
from vaebm_toolkit.builtin.vaebm import VaebmTrainer
from vaebm_toolkit.core import BatchNormPenalty, Horizon, SpectralPenalty, run_chain, target_density

FOLDER = Path(__file__).parent
BAR = {torch.float64: 1e-9, torch.float32: 1e-5}  # of the largest element
SHAPE = (3, 32, 32)

Arrays = dict[str, Tensor]


def arrays(name: str) -> Arrays:
    return {k: torch.from_numpy(v) for k, v in np.load(FOLDER / f"{name}.npz").items()}


def weights(found: Arrays) -> Arrays:
    return {k[8:]: v for k, v in found.items() if k.startswith("weights/")}


def images(found: Arrays, name: str = "in/img_u8") -> Tensor:
    return found[name].to(torch.float64) / 255


def agrees(ours: Any, reference: Tensor, bar: float) -> None:
    ours = torch.as_tensor(ours).detach().double().cpu()
    assert ours.shape == reference.shape
    error = (ours - reference.double()).abs().max() / reference.double().abs().max()
    assert error < bar


@pytest.fixture(params=list(BAR), ids=["float64", "float32"])
def precision(request: pytest.FixtureRequest) -> torch.dtype:
    dtype: torch.dtype = request.param
    return dtype


@pytest.fixture
def reference() -> Arrays:
    return arrays("nvae")


@pytest.fixture
def model(reference: Arrays) -> NVAE:
    options = NVAEOptions(channels=8, groups=3, latent=4, prior="official", logistic="official")
    found = network.build(options, SHAPE)
    missing, unexpected = found.load_state_dict(weights(reference), strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return found.eval()


def noise(found: Arrays, dtype: torch.dtype) -> dict[str, Tensor]:
    groups = {f"z{g}": found[f"in/eps_z_{g}"] for g in range(3)} | {"x": found["in/eps_x"]}
    return {k: v.to(dtype).requires_grad_() for k, v in groups.items()}


@pytest.mark.parametrize("frozen", [False, True])
def test_decoder(model: NVAE, reference: Arrays, precision: torch.dtype, frozen: bool) -> None:
    generator = model.to(precision).frozen() if frozen else model.to(precision)
    eps = noise(reference, precision)
    x, log_joint = generator.official_log_joint(eps)
    bar = BAR[precision]
    agrees(x, reference["gen/x"], bar)
    agrees(log_joint, reference["gen/log_p_total"] + reference["gen/log_pxgz_vaebm"], bar)
    gradient = torch.autograd.grad(-log_joint.sum(), eps["z1"])[0]
    agrees(gradient, reference["gen/grad_eps_z_1"], bar)


def test_densities_at_two_temperatures(model: NVAE, reference: Arrays, precision: torch.dtype) -> None:
    eps = noise(reference, precision)
    for prefix, generator in {"gen": model.to(precision), "gen_t": model.tempered([0.7], 1.0)}.items():
        head, priors = generator.ancestral(eps)
        total = torch.stack([p.log_prob_at(eps[f"z{g}"]) for g, p in enumerate(priors)]).sum(0)
        agrees(total, reference[f"{prefix}/log_p_total"], BAR[precision])
        if prefix == "gen":
            x = head.sample(eps["x"]).clamp(0, 1)
            agrees(head.log_prob(x), reference["gen/log_pxgz_nvae"], BAR[precision])


def test_encoder_and_bounds(
    model: NVAE, reference: Arrays, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn() -> Iterator[Tensor]:
        while True:
            yield from (reference[f"in/enc_eps_{g}"].to(precision) for g in range(3))

    stored = drawn()
    monkeypatch.setattr(network, "randn", lambda *_, **__: next(stored))
    x, bar, rng = images(reference).to(precision), BAR[precision], torch.Generator()
    model.to(precision)
    elbo = model.elbo(x, rng)
    agrees(elbo.log_px, reference["enc/recon_loglik"], bar)
    agrees(elbo.kl.T, reference["enc/kl_groups"], bar)
    agrees(elbo.log_px - elbo.kl.sum(1), reference["enc/elbo"], bar)
    agrees(model.log_weight(x, rng), reference["enc/log_iw"], bar)


def test_kl_balancing(model: NVAE, reference: Arrays) -> None:
    kl = reference["kl/vals"][None]
    coefficients = balance(kl, group_sizes(model))
    agrees(coefficients, reference["kl/coeffs_at_0.3"], 1e-9)


def test_regularisers_of_nvae(model: NVAE, reference: Arrays) -> None:
    agrees(SpectralPenalty(model.double(), warmup=3000)(), reference["reg/spectral_exact"], 1e-6)
    agrees(BatchNormPenalty(model)(), reference["reg/bn"], 1e-9)


def energy_network(dtype: torch.dtype) -> resnet.ResNetEnergy:
    found = resnet.build(ResNetOptions(width=8, layout="cifar10"), SHAPE)
    found.load_state_dict(weights(arrays("energy")))
    return found.to(dtype)


def test_energy(precision: torch.dtype) -> None:
    reference, energy = arrays("energy"), energy_network(precision)
    x = images(reference).to(precision).requires_grad_()
    values = energy(x)
    agrees(values, reference["out/energy"].flatten(), BAR[precision])
    gradient = torch.autograd.grad(values.sum(), x)[0]
    agrees(gradient[:1], reference["out/grad_x"], BAR[precision])


def starting_vectors(found: Arrays) -> dict[str, Tensor]:
    return {k.removeprefix("in/sr_u_"): v.double() for k, v in found.items() if k.startswith("in/sr_u_")}


def test_spectral_penalty_of_the_energy() -> None:
    reference, energy = arrays("energy"), energy_network(torch.float64)
    penalty = SpectralPenalty(energy)
    penalty.load_state_dict({"left": starting_vectors(reference), "right": {}})
    value = penalty()
    agrees(value, reference["out/spectral_4iter"], 1e-9)
    value.backward()
    parameters = dict(energy.named_parameters())
    for name in ("blocks.2.conv1.weight", "conv1.log_weight_norm"):
        agrees(parameters[name].grad, reference[f"grad_spectral_4iter/{name}"], 1e-6)  # stored as float32


def test_igebm_call_by_call(precision: torch.dtype) -> None:
    """The released spectral norm advances at every call, in evaluation too."""
    bar = BAR[precision]
    reference = arrays("igebm")
    energy = igebm.build(IGEBMOptions(width=8, advance="always"), SHAPE)
    energy.load_state_dict(weights(reference))
    energy.to(precision).eval()
    x = images(reference).to(precision).requires_grad_()
    first = energy(x)
    agrees(first, reference["out/energy"].flatten(), bar)
    agrees(torch.autograd.grad(first.sum(), x)[0][:1], reference["out/grad_x"], bar)
    for name in ("conv1.weight_u", "blocks.5.conv2.weight_u"):
        agrees(energy.state_dict()[name], reference[f"out/u_after/{name}"], bar)
    agrees(energy(x), reference["out/energy_second_call"].flatten(), bar)


def test_chain_and_energy_update_of_the_released_code(model: NVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three Langevin steps of the official target, then two updates with clip and spectral penalty."""
    reference, energy = arrays("chain"), energy_network(torch.float64)
    options = LatentOptions(steps=3, step_size=8e-5, target="official")
    sampler = kernel.LatentLangevin(options, (0.0, 1.0))
    groups = ("z0", "z1", "z2", "x")
    named = {g: g.replace("z", "z_") for g in groups}
    drawn = iter(reference[f"it0/in/step{k}_noise_{named[g]}"].double() for k in range(3) for g in groups)
    monkeypatch.setattr(kernel, "randn_like", lambda *_: next(drawn))
    trainer = VaebmTrainer(
        VaebmOptions(lr=4e-5, weight_decay=3e-5), Horizon(2, 2, 2), model.double(), energy, sampler, None
    )
    trainer.spectral.load_state_dict({"left": starting_vectors(reference), "right": {}})
    start = {g: reference[f"it0/in/eps_{named[g]}"].double() for g in groups}
    before = []
    density = target_density(sampler, trainer.generator, energy)
    end = run_chain(
        sampler, start, density, torch.Generator(), observe=lambda k, s, d: before.append(d["log_prob"])
    )
    ld = {k: reference[f"it0/ld/{k}"] for k in ("energy", "log_p", "log_pxgz")}
    for k in range(3):
        agrees(before[k], (ld["log_p"] + ld["log_pxgz"] - ld["energy"])[k].mean(), 1e-9)
    for g in groups:
        agrees(end[g][:1], reference[f"it0/ld/final_eps_{named[g]}"], 1e-9)
    negatives = [trainer.decode(end), reference["it1/upd/neg"].double()]
    for step, negative in enumerate(negatives):
        monkeypatch.setattr(trainer, "chain", lambda *_: (end, {}))
        monkeypatch.setattr(trainer, "decode", lambda *_, x=negative: x)
        x = images(reference, f"it{step}/in/img_u8")
        (update,) = trainer.updates(x, step, torch.Generator())
        trainer.optimizer.zero_grad()
        update.loss.backward()
        trainer.optimizer.step()
        for ours, theirs in (("energy_gap", "loss"), ("spectral", "spectral")):
            # the second update's negatives are stored as float32
            bar = 1e-9 if step == 0 else 1e-6
            agrees(update.metrics[ours].reshape(()), reference[f"it{step}/upd/{theirs}"].reshape(()), bar)
        parameters = dict(energy.named_parameters())
        after = [k for k in reference if k.startswith(f"it{step}/after/")]
        assert len(after) == 4
        for k in after:
            agrees(parameters[k.removeprefix(f"it{step}/after/")], reference[k], 1e-6)  # stored as float32
