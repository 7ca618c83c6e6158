"""What a run's networks show: samples with their energies, chains, reconstructions; small and seeded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaebm_toolkit.building import build_dataset
from vaebm_toolkit.core import Autoencoder, Dataset, Model, RowStreams, State, rand, stream
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.evaluation.density import relative_density
from vaebm_toolkit.evaluation.sampling import chain_start, decode, sample
from vaebm_toolkit.report.reading import RunFacts
from vaebm_toolkit.results import Evaluation, model_name, spread_over
from vaebm_toolkit.trained import load_autoencoder, load_model
from vaebm_toolkit.training.device import undisturbed

KEPT = 1000  # examples and samples whose energies are drawn, at most
FRAMES = 8  # pictures of a chain after its start
CHAINS = 8
DRAWN = 64  # samples that are made where the run kept none


class Missing(NamedTuple):
    """A figure that the page cannot show."""

    what: str
    why: str
    fix: str


class Chains(NamedTuple):
    steps: list[int]
    frames: list[Tensor]
    """per step of `steps`: (n, *data shape)"""
    energies: list[Tensor]
    """per step of `steps`: (n,)"""


class Drawn(NamedTuple):
    """Of one run."""

    shape: tuple[int, ...]
    sets: dict[str, Tensor]
    """"data" (held-out examples) and models -> (N, *shape)"""
    energies: dict[str, Tensor]
    """"train", "data" and models -> (N,); empty where there is no energy"""
    chains: Chains | None
    density: Callable[[Tensor], Tensor] | None
    """of a model of the plane"""
    reconstructions: tuple[Tensor, Tensor] | None
    """examples, and the decoder's means at posterior samples of them"""
    paths: Tensor | None
    """(pairs, steps + 2, *shape): interpolations between two examples, which stand at the ends"""
    missing: list[Missing]


def draw(facts: RunFacts, device: torch.device) -> Drawn:
    """Everything that can be drawn; what cannot is listed with its reason and costs nothing else."""
    with undisturbed(facts.directory.recipe.run.threads), torch.no_grad():
        return Drawing(facts, device).draw()


class Drawing:
    """The figures of one run, each made on its own."""

    def __init__(self, facts: RunFacts, device: torch.device) -> None:
        self.facts, self.run, self.device = facts, facts.directory, device
        self.seed = self.run.recipe.run.seed
        self.missing: list[Missing] = []

    def draw(self) -> Drawn:
        shape = tuple(self.facts.data.get("shape", ()))
        dataset: Dataset | None = self.tried("Data", lambda: build_dataset(self.run.recipe))
        models: dict[str, Model] = self.tried("Samples", self.models) or {}
        sets: dict[str, Tensor] = {}
        if dataset is not None:
            shape = tuple(dataset.shape)
            sets["data"] = dataset.test.batch(spread_over(len(dataset.test), KEPT))
        for name, model in models.items():
            x = self.tried(f"Samples of {name}", lambda n=name, m=model: self.samples(dataset, n, m))
            if x is not None:
                sets[name] = x
        last = next(reversed(models.values()), None)
        energies: dict[str, Tensor] = {}
        chains = density = None
        if last is not None and last.energy is not None:
            energies = self.tried("Energies", lambda: self.energies(last, sets, dataset)) or {}
            if last.sampler is not None:
                chains = self.tried("Chains", lambda: self.chains(last))
        if last is not None and shape == (2,) and isinstance(last.fitted.generator, Autoencoder | None):
            fitted = last.fitted
            density = lambda x: relative_density(fitted, x.to(self.device)).cpu()  # noqa: E731
        encoded: Any = None
        if len(shape) == 3 and dataset is not None and self.run.done("pretrain") is not None:
            encoded = self.tried("Reconstructions and interpolations", lambda: self.encoded(dataset))
        pairs, paths = encoded if encoded is not None else (None, None)
        return Drawn(shape, sets, energies, chains, density, pairs, paths, self.missing)

    def tried(self, what: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, or None and a line among the missing: what fails costs itself alone."""
        try:
            return make()
        except ToolkitError as e:
            self.missing.append(Missing(what, e.message, e.fix))
        except Exception as e:  # a stranger's part
            self.missing.append(Missing(what, f"{type(e).__name__}: {e}", ""))
        return None

    def models(self) -> dict[str, Model]:
        """Of a finished run its generator and what it trained; of an unfinished one the generator."""
        if self.facts.finished and self.facts.stages:
            last = load_model(self.run, self.device)
            both = last.energy is not None and last.generator is not None
            first = {"generator": load_model(self.run, self.device, second=False)} if both else {}
            return {**first, model_name(self.run.recipe): last}
        return {"generator": load_model(self.run, self.device, second=False)}

    def samples(self, dataset: Dataset | None, name: str, model: Model) -> Tensor:
        """The first samples that the run's evaluation kept, or those that it would begin with."""
        stored = Evaluation(self.run, dataset, self.device).samples(name, model)  # type: ignore[arg-type]
        files = sorted(stored.store.path.glob("*.npy"))
        held = sum(len(np.load(f, mmap_mode="r", allow_pickle=False)) for f in files)
        return torch.cat(list(stored.store.batches(max(DRAWN, min(held, KEPT)), DRAWN)))

    def energies(
        self, model: Model, sets: Mapping[str, Tensor], dataset: Dataset | None
    ) -> dict[str, Tensor]:
        known = dict(sets)
        if dataset is not None:
            known = {"train": dataset.train.batch(spread_over(len(dataset.train), KEPT)), **known}
            if len(dataset.shape) == 3:
                known |= outliers(known["data"])
        return {name: energy_of(model, x) for name, x in known.items()}

    def chains(self, model: Model) -> Chains:
        """The chains of the first samples, at evenly spaced steps from their start to their end."""
        assert model.sampler is not None, "asked for where there is one"
        plane = len(model.shape) == 1
        count, steps = (256, 5) if plane else (CHAINS, FRAMES)
        length = model.sampler.steps
        wanted = sorted({round(length * k / steps) for k in range(steps + 1)})

        def streams() -> RowStreams:
            return RowStreams([stream(self.seed, "sample", i, device=self.device) for i in range(count)])

        frames = [decode(model, chain_start(model, count, streams(), model.like)).cpu()]

        def observe(k: int, position: State, diagnostics: Mapping[str, Tensor]) -> None:
            if k + 1 in wanted:
                frames.append(decode(model, position).cpu())

        sample(model, count, streams(), model.like, observe)
        return Chains(wanted, frames, [energy_of(model, x) for x in frames])

    def encoded(self, dataset: Dataset) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
        """Sixteen examples beside their reconstructions, and six walks from one example to another."""
        if not self.is_autoencoder():
            return None, None
        model = load_autoencoder(self.run, self.device)
        index = spread_over(len(dataset.test), 16)
        x = dataset.test.batch(index)

        def streams(n: int) -> RowStreams:
            return RowStreams([stream(self.seed, "encode", i, device=self.device) for i in range(n)])

        back = model.reconstruct(x.to(self.device), streams(len(x))).cpu().clamp(0, 1)
        half = min(len(x) // 2, 6)
        if not half:
            return (x, back), None
        a, b = x[:half], x[half : 2 * half]
        between = model.interpolate(a.to(self.device), b.to(self.device), 8, streams(half)).cpu().clamp(0, 1)
        return (x, back), torch.cat([a[:, None], between, b[:, None]], 1)

    def is_autoencoder(self) -> bool:
        from vaebm_toolkit.building import build_generator

        with torch.device("meta"):
            generator = build_generator(self.run.recipe, tuple(self.facts.data["shape"]))
        return isinstance(generator, Autoencoder)


def outliers(x: Tensor) -> dict[str, Tensor]:
    """No data: noise, images of one value per channel, and means of two examples of x (N, C, H, W)."""
    n = len(x)
    rng = stream(0, "report", "outliers")
    noise = rand(x.shape, rng, dtype=x.dtype)
    constant = rand((n, x.shape[1], 1, 1), rng, dtype=x.dtype).expand_as(x)
    return {"noise": noise, "constant": constant, "interpolated": (x + x.roll(max(n // 2, 1), 0)) / 2}


def energy_of(model: Model, x: Tensor) -> Tensor:
    """E(x), (N,)."""
    assert model.energy is not None, "asked for where there is one"
    parts = [model.energy(part.to(model.like)).double().cpu() for part in x.split(100)]
    return torch.cat(parts)
