"""The metric `chains`: what a model's chains do, and how far they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.builtin.metrics import ChainsOptions
from vaebm_toolkit.core import (
    Dataset,
    Figure,
    LogDensity,
    Metric,
    Model,
    RowStreams,
    State,
    as_stream,
    buffers_restored,
    frozen,
    run_chain,
    stream,
    target_density,
)
from vaebm_toolkit.core.chain import value_and_grad
from vaebm_toolkit.evaluation.chain_diagnostics import bulk_ess, rank_r_hat
from vaebm_toolkit.evaluation.chain_temperature import Estimate, norm_drift, virial_temperature
from vaebm_toolkit.evaluation.sampling import chain_start, decode

POINTS = 33  # of a curve in the protocol, at most
ROWS = 100  # of chains computed at a time where nothing is differentiated


class Chains(Metric):
    """The chains of the first samples, as many steps as they have at test time, and longer ones.

    Of a chain's own length: the energy where it starts and ends, the gradient's norm, the acceptance. Of
    `length` steps, begun from the prior and, where the generator can encode, from training data: R̂ and the
    effective sample size of E over their second half, ‖ε‖ and the temperature at their end.
    """

    def __init__(self, options: ChainsOptions) -> None:
        self.options = options
        self.protocol: dict[str, Any] = {}
        self.pictures: dict[str, Tensor] = {}
        self.model: Model | None = None

    def see(self, model: Model) -> None:
        self.model = model

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        model, self.protocol, self.pictures = self.model, {}, {}
        if model is None or model.energy is None or model.sampler is None or not model.sampler.steps:
            return {}
        with frozen(model.energy), buffers_restored(model.energy):
            density = target_density(model.sampler, model.generator, model.energy)
            seed = as_stream(samples).seed
            return {**self.short(model, density, seed), **self.long(model, density, dataset)}

    def short(self, model: Model, density: LogDensity, seed: int) -> dict[str, float]:
        """Of the chains that samples are the ends of."""
        o = self.options
        assert model.sampler is not None, "compute looks for it"
        steps = model.sampler.steps
        rng = streams(model, "sample", o.count, seed)  # those of the samples themselves
        start = chain_start(model, o.count, rng, model.like)
        energies, frames = {0: energy_of(model, start)}, [decode(model, first(start, o.film))]
        told: dict[str, list[Tensor]] = {}
        points = evenly(steps, POINTS - 1)
        shown = set(evenly(steps, o.frames))

        def observe(k: int, position: State, diagnostics: Mapping[str, Tensor]) -> None:
            for name, value in diagnostics.items():
                told.setdefault(name, []).append(value)
            if k + 1 in points:
                energies[k + 1] = energy_of(model, position)
            if k + 1 in shown:
                frames.append(decode(model, first(position, o.film)))

        run_chain(model.sampler, start, density, rng, observe=observe)
        if len(model.shape) == 3:
            self.pictures = {"chains": torch.stack(frames, 1).cpu()}
        self.protocol = {
            "chains": o.count,
            "found": {"energy by step": {str(k): round(float(e.mean()), 4) for k, e in energies.items()}},
        }
        found: dict[str, float] = {
            "energy, start": mean_of(energies[0]),
            "energy, end": mean_of(energies[max(energies)]),
        }
        norms = told.get("grad_norm", [])
        if norms:
            found |= {"gradient norm, start": float(norms[0]), "gradient norm, end": float(norms[-1])}
        for name, values in told.items():
            if "accept" in name:
                found[name] = float(torch.stack(values).mean())
        return found

    def long(self, model: Model, density: LogDensity, dataset: Dataset) -> dict[str, float]:
        """Of longer chains, from different starts."""
        o, sampler = self.options, model.sampler
        assert sampler is not None, "compute looks for it"
        length = o.length if o.length is not None else min(10 * sampler.steps, 500)
        begun, starts = self.starts(model, dataset)
        series: list[Tensor] = []
        told: list[Tensor] = []

        def observe(k: int, position: State, diagnostics: Mapping[str, Tensor]) -> None:
            series.append(energy_of(model, position))
            told.extend(v for name, v in diagnostics.items() if "accept" in name)

        rng = streams(model, "long chains", o.count)
        end = run_chain(sampler, begun, density, rng, steps=length, observe=observe)
        self.protocol |= {"steps of the long chains": length, "they start from": starts}
        kept = torch.stack(series, 1)[:, length // 2 :].cpu()
        found: dict[str, float] = {"energy, long": mean_of(kept[:, -1])}
        if kept.shape[1] >= 8:  # halves of four draws at least
            ess = float(bulk_ess(kept))
            found |= {
                "R̂": float(rank_r_hat(kept)),
                "effective samples per chain": ess / len(kept),
                "autocorrelation time": kept.numel() / ess,
            }
        noise = latent(model, end)
        if noise is not None:
            groups = {name: norm_drift(v.cpu()) for name, v in noise.items()}
            every = norm_drift(torch.cat([v.flatten(1) for v in noise.values()], 1).cpu())
            found["‖ε‖/√d"] = Figure.within(every.ratio, every.mean.error / every.expected, least=0)
            if len(groups) > 1:
                self.protocol["found"]["‖ε‖/√d by group"] = {k: round(g.ratio, 4) for k, g in groups.items()}
        if not model.in_data_space or sampler.bounds is None:  # it does not hold where values are projected
            found["temperature"] = self.temperature(end, density)
        return {k: v for k, v in found.items() if not math.isnan(v)}

    def starts(self, model: Model, dataset: Dataset) -> tuple[State, str]:
        """Half of the chains from where the sampler's start, half from training data where they can."""
        o = self.options
        begun = chain_start(model, o.count, streams(model, "starts", o.count), model.like)
        half = o.count // 2
        index = torch.arange(half) * len(dataset.train) // max(half, 1)
        if not half:
            return begun, "the prior"
        x = dataset.train.batch(index).to(model.like)
        if model.in_data_space or model.generator is None:
            data = {"x": x}
        elif (encoding := model.autoencoder()) is not None:
            eps = encoding.encode(x, streams(model, "encode", half))
            joint = model.sampler is not None and model.sampler.space == "joint"
            data = model.generator.values(eps) if joint else eps
        else:
            return begun, "the prior"
        both = {k: torch.cat([data[k].detach().to(v), v[half:]]) for k, v in begun.items()}
        return both, "the prior, half of them, and training data"

    def temperature(self, end: State, density: LogDensity) -> Figure:
        """T of exp(−U/T) from E[v · ∇U] = d T at the chains' ends."""
        _, score = value_and_grad(density, end)
        flat = [torch.cat([v.flatten(1) for v in s.values()], 1).cpu() for s in (end, score)]
        return figure(virial_temperature(flat[0], -flat[1]))


def streams(model: Model, name: str, count: int, seed: int = 0) -> RowStreams:
    return RowStreams([stream(seed, name, i, device=model.like.device) for i in range(count)])


@torch.no_grad()
def energy_of(model: Model, position: State) -> Tensor:
    """E of the data at a position, (B,) float64."""
    assert model.energy is not None, "compute looks for it"
    return torch.cat([model.energy(x).double() for x in decode(model, position).split(ROWS)])


def latent(model: Model, position: State) -> State | None:
    """ε of a position; None for chains on data."""
    if model.in_data_space or model.generator is None or model.sampler is None:
        return None
    return model.generator.noise(position)[0] if model.sampler.space == "joint" else position


def first(position: State, count: int) -> State:
    return {k: v[:count] for k, v in position.items()}


def evenly(steps: int, count: int) -> list[int]:
    """At most `count` of the steps 1 … `steps`, evenly, the last one among them.

    >>> evenly(30, 3), evenly(2, 5)
    ([10, 20, 30], [1, 2])
    """
    return sorted({max(round(steps * k / count), 1) for k in range(1, count + 1)}) if steps else []


def mean_of(values: Tensor) -> Figure:
    values = values.double()
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0
    return Figure.within(float(values.mean()), error)


def figure(e: Estimate) -> Figure:
    return Figure(e.value) if math.isnan(e.error) else Figure.within(e.value, e.error)
