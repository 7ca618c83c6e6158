"""What is timed: the same work in the reference arrangement and in ours, on the same weights and noise."""

from __future__ import annotations

import copy
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from reference import as_released, data_chain, latent_chain
from torch import Tensor

from vaebm_igebm.igebm import build as build_igebm
from vaebm_igebm.options import IGEBMOptions, ResNetOptions
from vaebm_igebm.resnet import build as build_resnet
from vaebm_langevin.kernel import DataLangevin, LatentLangevin
from vaebm_langevin.options import DataOptions, LatentOptions
from vaebm_nvae.network import build as build_nvae
from vaebm_nvae.options import NVAEOptions
from vaebm_toolkit import core
from vaebm_toolkit.builtin.trainers import VaebmOptions, VaeOptions
from vaebm_toolkit.builtin.vae import VaeTrainer
from vaebm_toolkit.builtin.vaebm import VaebmTrainer
from vaebm_toolkit.cli import process
from vaebm_toolkit.core import EnergyFunction, Model, RowStreams, State, stream
from vaebm_toolkit.evaluation.sampling import samples
from vaebm_toolkit.evaluation.writing import writer
from vaebm_toolkit.training.device import autocast

SHAPE = (3, 32, 32)
SEED = 0
UNIT = (0.0, 1.0)


class Size(NamedTuple):
    """Networks, and how many images at once."""

    channels: int
    groups: int
    latent: int
    width: int
    batch: int


SMALL = Size(channels=32, groups=8, latent=8, width=32, batch=32)
"""A small CIFAR-10 model: 2,338,356 parameters of the generator."""
PUBLISHED = Size(channels=128, groups=30, latent=20, width=128, batch=4)
"""VAEBM on CIFAR-10 (Xiao et al., 2021, tables 6 and 7), without its flow cells, which no chain passes."""


class Networks:
    """A generator with plausible BatchNorm statistics, an energy initialised from data, chain starts."""

    def __init__(self, size: Size, device: torch.device) -> None:
        torch.manual_seed(SEED)
        options = NVAEOptions(channels=size.channels, groups=size.groups, latent=size.latent)
        self.generator = build_nvae(options, SHAPE).to(device)
        self.generator.recalibrate(4, 8, stream(SEED, "recalibrate", device=device))
        self.generator.eval().requires_grad_(False)
        self.energy = build_resnet(ResNetOptions(width=size.width, layout="cifar10"), SHAPE).to(device)
        self.state = core.standard_normal(
            self.generator.groups, size.batch, stream(SEED, "state", device=device)
        )
        self.x = torch.rand((size.batch, *SHAPE), generator=stream(SEED, "x", device=device), device=device)
        with torch.no_grad():
            start = {k: v[:8] for k, v in self.state.items()}
            self.energy.initialise(self.generator.decode(start).x.clamp(*UNIT))
        self.energy.eval()


class Case(ABC):
    """One row of the table."""

    name: ClassVar[str]
    title: ClassVar[str]
    asked: ClassVar[tuple[float, float]]
    """times the reference on a CPU, on a GPU"""
    size: ClassVar[Size] = SMALL
    ours: ClassVar[str] = "exact"
    """the arrangement that is held against what is asked"""
    bounds: ClassVar[Mapping[str, float]]
    """largest differences allowed, relative to the largest value; others are only told"""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    @abstractmethod
    def arrangements(self) -> Mapping[str, Callable[[], Any]]:
        """The same work, arranged differently; "reference" first."""

    @abstractmethod
    def differences(self) -> dict[str, float]:
        """Of ours from the reference's results, relative to the largest value."""

    def rng(self, *path: str | int) -> torch.Generator:
        return stream(SEED, self.name, *path, device=self.device)


def difference(a: Tensor, b: Tensor) -> float:
    """max |a − b| / max |b|"""
    return float((a - b).detach().abs().max() / b.detach().abs().max())


def of_states(a: State, b: State) -> float:
    return max(difference(a[k], b[k]) for k in b)


class LangevinStep(Case):
    """A chain's fixed cost, freezing above all, is not in it."""

    name, title, asked = "langevin", "Langevin step, batch 32", (3.0, 6.0)
    ours = "official"
    bounds: ClassVar[Mapping[str, float]] = {"energy": 1e-5, "new state": 1e-5, "exact state": 1e-5}

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.networks = Networks(self.size, device)
        self.fast = self.networks.generator.frozen()
        self.held = copy.deepcopy(self.networks.energy)
        self.freezing = core.frozen(self.held)
        self.freezing.__enter__()

    @property
    def arrangements(self) -> Mapping[str, Callable[[], State]]:
        return {
            "reference": self.reference,
            "official": lambda: self.step("official", self.fast),
            "exact": lambda: self.step("exact", self.fast),
            "bf16": lambda: self.half("exact"),
        }

    def reference(self) -> State:
        n = self.networks
        with as_released():
            return latent_chain(n.generator, n.energy, n.state, LatentOptions(), self.rng(), 1)

    def half(self, target: Any) -> State:
        """Matrix products in bfloat16, the state in float32: `--precision bf16`."""
        with autocast(self.device, "bf16"):
            return self.step(target, self.fast)

    def step(self, target: Any, generator: core.Generator) -> State:
        sampler = LatentLangevin(LatentOptions(target=target), UNIT)
        density = core.target_density(sampler, generator, self.held)
        return sampler.step(self.networks.state, density, self.rng())[0]

    def differences(self) -> dict[str, float]:
        n = self.networks
        with torch.no_grad():
            energies = [self.held(g.decode(n.state).x) for g in (self.fast, n.generator)]
            with autocast(self.device, "bf16"):
                half = self.held(self.fast.decode(n.state).x)
        return {
            "energy": difference(*energies),
            "energy in bf16": difference(half, energies[1]),
            "new state": of_states(self.step("official", self.fast), self.reference()),
            "exact state": of_states(self.step("exact", self.fast), self.step("exact", n.generator)),
            "state in bf16": of_states(self.half("exact"), self.step("exact", n.generator)),
        }


class PublishedStep(LangevinStep):
    name, title, asked = "langevin-cifar10", "the same at the published CIFAR-10 size, batch 4", (2.5, 6.0)
    size = PUBLISHED


class EnergyIteration(Case):
    """Chain of 10 steps, contrast, spectral penalty, clip, Adam."""

    name, title, asked = "energy-iteration", "energy iteration, 10 Langevin steps", (2.5, 5.0)
    ours = "official"
    bounds: ClassVar[Mapping[str, float]] = {"loss": 1e-4, "energy after": 1e-4}

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.networks = Networks(self.size, device)
        self.moving = copy.deepcopy(self.networks.energy)
        self.optimizer = core.MomentClippedAdam(
            self.moving.parameters(), lr=4e-5, betas=(0.99, 0.999), weight_decay=3e-5
        )
        self.penalty = core.SpectralPenalty(self.moving)
        self.trainers = {t: self.trainer(t) for t in ("official", "exact")}

    def trainer(self, target: Any) -> VaebmTrainer:
        n = self.networks
        sampler = LatentLangevin(LatentOptions(target=target), UNIT)
        energy = copy.deepcopy(n.energy)
        return VaebmTrainer(VaebmOptions(), core.Horizon(1, 1, len(n.x)), n.generator, energy, sampler, None)

    @property
    def arrangements(self) -> Mapping[str, Callable[[], Tensor]]:
        return {
            "reference": self.reference,
            "official": lambda: self.iteration(self.trainers["official"]),
            "exact": lambda: self.iteration(self.trainers["exact"]),
        }

    def reference(self) -> Tensor:
        n, o, rng = self.networks, VaebmOptions(), self.rng()
        with as_released():
            start = core.standard_normal(n.generator.groups, len(n.x), rng, like=n.x)
            end = latent_chain(n.generator, self.moving, start, LatentOptions(), rng, 10)
            self.optimizer.zero_grad()  # the chain's weight gradients are thrown away
            with torch.no_grad():
                negatives = n.generator.decode(end).x.clamp(*UNIT)
            loss = self.moving(n.x).mean() - self.moving(negatives).mean() + o.spectral * self.penalty()
            loss.backward()
        self.optimizer.step()
        return loss.detach()

    def iteration(self, trainer: VaebmTrainer) -> Tensor:
        optimizer = trainer.optimizers()["energy"]
        for update in trainer.updates(self.networks.x, 0, self.rng()):
            optimizer.zero_grad(set_to_none=True)
            update.loss.backward()
            optimizer.step()
        return update.loss.detach()

    def differences(self) -> dict[str, float]:
        fresh = type(self)(self.device)
        trainer = fresh.trainers["official"]
        losses = fresh.iteration(trainer), fresh.reference()
        with torch.no_grad():
            energies = trainer.energy(fresh.networks.x), fresh.moving(fresh.networks.x)
        return {"loss": difference(*losses), "energy after": difference(*energies)}


class NvaeStep(Case):
    """Forward, KL balancing, spectral and BatchNorm terms, backward, Adamax."""

    name, title, asked = "nvae-step", "NVAE training step, batch 32", (1.3, 2.5)
    ours = "ours"
    bounds: ClassVar[Mapping[str, float]] = {"loss": 1e-5, "gradient": 1e-3}

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        networks = Networks(self.size, device)
        self.x = networks.x
        generators = {k: copy.deepcopy(networks.generator) for k in ("reference", "ours")}
        self.trainers = {
            k: VaeTrainer(VaeOptions(), core.Horizon(1000, 100, len(self.x)), g.train().requires_grad_())
            for k, g in generators.items()
        }

    @property
    def arrangements(self) -> Mapping[str, Callable[[], Tensor]]:
        return {"reference": self.reference, "ours": lambda: self.step("ours")}

    def reference(self) -> Tensor:
        with as_released():
            return self.step("reference")

    def step(self, which: str, move: bool = True) -> Tensor:
        trainer = self.trainers[which]
        optimizer = trainer.optimizers()["generator"]
        for update in trainer.updates(self.x, 500, self.rng()):
            optimizer.zero_grad(set_to_none=True)
            update.loss.backward()
            if move:
                optimizer.step()
        return update.loss.detach()

    def differences(self) -> dict[str, float]:
        fresh = type(self)(self.device)
        with as_released():
            reference = fresh.step("reference", move=False)
        ours = fresh.step("ours", move=False)
        gradients = [
            torch.cat([p.grad.flatten() for p in t.generator.parameters() if p.grad is not None])
            for t in (fresh.trainers["ours"], fresh.trainers["reference"])
        ]
        return {"loss": difference(ours, reference), "gradient": difference(*gradients)}


class Sampling(Case):
    """Noise, chains of 16 steps, the decoder's mean, PNG files; noise of each image from its own stream."""

    name, title, asked = "sampling", "sampling to PNG, 16 steps, batch 32", (3.0, 6.0)
    ours = "official"
    bounds: ClassVar[Mapping[str, float]] = {"image": 1e-4}
    steps = 16

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.networks = Networks(self.size, device)
        self.networks.energy.requires_grad_()

    @property
    def arrangements(self) -> Mapping[str, Callable[[], Tensor]]:
        return {
            "reference": self.reference,
            "official": lambda: self.sample("official"),
            "exact": lambda: self.sample("exact"),
        }

    def reference(self) -> Tensor:
        n, count = self.networks, self.size.batch
        rng = RowStreams([stream(SEED, "sample", i, device=self.device) for i in range(count)])
        with as_released():
            start = core.standard_normal(n.generator.groups, count, rng, n.x)
            end = latent_chain(n.generator, n.energy, start, LatentOptions(), rng, self.steps)
            with torch.no_grad():
                return self.written(n.generator.mean(end).clamp(*UNIT))

    def sample(self, target: Any) -> Tensor:
        n, count = self.networks, self.size.batch
        sampler = LatentLangevin(LatentOptions(target=target, steps=self.steps), UNIT)
        model = Model(n.generator.frozen(), copy.deepcopy(n.energy), sampler, SHAPE, UNIT, mean=True)
        return self.written(*samples(model, range(count), SEED, count, self.device, n.x))

    def written(self, x: Tensor) -> Tensor:
        with tempfile.TemporaryDirectory() as folder, writer(Path(folder, "samples"), len(x)) as write:
            write(x.cpu())
        return x

    def differences(self) -> dict[str, float]:
        return {"image": difference(self.sample("official"), self.reference())}


class DataSpace(Case):
    """Chains of 60 steps on images under IGEBM's network, its power iteration converged."""

    name, title, asked = "data-space", "data-space EBM, 60 steps, IGEBM net, batch 8", (1.5, 4.0)
    ours = "ours"
    bounds: ClassVar[Mapping[str, float]] = {"energy": 1e-4, "image": 1e-4}
    steps, batch = 60, 8

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        torch.manual_seed(SEED)
        self.energy: EnergyFunction = build_igebm(IGEBMOptions(iterations=300), SHAPE).to(device)
        x = torch.rand((self.batch, *SHAPE), generator=self.rng("x"), device=device)
        with torch.no_grad():
            self.energy.train()(x)
        for module in self.energy.modules():
            if hasattr(module, "iterations"):
                module.iterations = 1
        self.energy.eval()
        self.x = x

    @property
    def arrangements(self) -> Mapping[str, Callable[[], Tensor]]:
        return {"reference": self.reference, "ours": self.chain}

    def reference(self) -> Tensor:
        self.energy.zero_grad(set_to_none=True)
        with as_released():
            return data_chain(self.energy, self.x, DataOptions(), self.rng(), self.steps)

    def chain(self) -> Tensor:
        sampler = DataLangevin(DataOptions(steps=self.steps), UNIT)
        with core.frozen(self.energy):
            density = core.target_density(sampler, None, self.energy)
            return core.run_chain(sampler, {"x": self.x}, density, self.rng())["x"]

    def differences(self) -> dict[str, float]:
        ours, reference = self.chain(), self.reference()
        with torch.no_grad():
            energies = self.energy(ours), self.energy(reference)
        return {"energy": difference(*energies), "image": difference(ours, reference)}


CASES: dict[str, type[Case]] = {
    case.name: case for case in (LangevinStep, PublishedStep, EnergyIteration, NvaeStep, Sampling, DataSpace)
}


def once(name: str, arrangement: str, device: str, threads: int) -> None:
    """A case's work, in a process of its own: its peak is the arrangement's."""
    process.keep_freed_memory()
    torch.set_num_threads(threads)
    CASES[name](torch.device(device)).arrangements[arrangement]()
