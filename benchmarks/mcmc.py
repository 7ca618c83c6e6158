"""Samplers in ε-space against each other, every row with the same number of gradients per chain.

    python benchmarks/mcmc.py                                   # a Gaussian, and two modes
    python benchmarks/mcmc.py runs/gaussians25 --count 5000     # samples of a run on data with modes

Prints Markdown tables. Chains start from ε ~ N(0, I); on the two modes, all in the lesser one. For a run,
what a perfect sampler would give comes from weighted samples of its generator, w = exp(−E(T(ε))).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.building import build_dataset
from vaebm_toolkit.core import (
    LogDensity,
    ModalDataset,
    Model,
    Sampler,
    State,
    frozen,
    latent_density,
    run_chain,
    standard_normal,
    stream,
)
from vaebm_toolkit.pipeline import load_model
from vaebm_toolkit.registry import installed, load_factory
from vaebm_toolkit.training.rundir import RunDirectory

CASES = [(2, 2.0, 0.2, 3000), (8, 3.0, 0.3, 3000), (32, 4.0, 0.4, 6000)]
"""Two modes: dimensions, ‖m‖, σ, gradients per chain."""


class Choice(NamedTuple):
    """A sampler of the table, without its number of steps."""

    name: str
    options: dict[str, Any]

    def sampler(self, gradients: int) -> Sampler:
        """With as many steps as `gradients` allow."""
        registered = installed().find("sampler", self.name)
        make = registered.component.options
        assert make is not None
        cost = getattr(make(**self.options), "gradients", 1)
        return load_factory(registered)(make(**self.options, steps=max(1, gradients // cost)))

    def __str__(self) -> str:
        return ", ".join([f"`{self.name}`", *(f"{k} {v:g}" for k, v in self.options.items())])


class Outcome(NamedTuple):
    end: State
    acceptance: float
    """of the last step; NaN where every step is taken"""
    seconds: float


def chain(choice: Choice, gradients: int, start: State, density: LogDensity, seed: int = 1) -> Outcome:
    last: dict[str, Tensor] = {}
    clock = time.perf_counter()
    end = run_chain(
        choice.sampler(gradients), start, density, stream(seed, "chain"),
        observe=lambda k, position, found: last.update(found),
    )  # fmt: skip
    acceptance = float(last.get("acceptance", torch.tensor(math.nan)))
    return Outcome(end, acceptance, time.perf_counter() - clock)


def percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"


def gaussian_table(budgets: list[int], count: int, dim: int = 100) -> Iterator[str]:
    """Precisions from 1 to 100, means two standard deviations from 0."""
    precision = torch.logspace(0, 2, dim)
    sd, mean = precision.rsqrt(), 2 * precision.rsqrt()

    def density(state: State) -> Tensor:
        return -0.5 * (precision * (state["z"] - mean).square()).sum(1)

    choices = [
        Choice("latent-ld", {"step_size": 0.0003}),
        Choice("latent-ld", {"step_size": 0.003}),
        Choice("latent-ld", {"step_size": 0.02}),
        Choice("latent-mala", {}),
        Choice("latent-mala", {"warmup": 50}),
        Choice("latent-hmc", {}),
        Choice("latent-hmc", {"leapfrog": 10, "warmup": 20}),
    ]
    yield "| sampler | gradients | accepted | mean off by, sd | variance off by |"
    yield "|---|---|---|---|---|"
    for gradients in budgets:
        for choice in choices:
            start = standard_normal({"z": (dim,)}, count, stream(0, "start"))
            found = chain(choice, gradients, start, density)
            z = (found.end["z"] - mean) / sd
            off, spread = z.mean(0).square().mean().sqrt(), (z.var(0) - 1).square().mean().sqrt()
            yield (
                f"| {choice} | {gradients:,} | {percent(found.acceptance)} | {float(off):.3f} "
                f"| {100 * float(spread):.1f} % |"
            )


def two_modes_table(
    cases: list[tuple[int, float, float, int]], count: int, weight: float = 0.25
) -> Iterator[str]:
    """N(±m, σ² I) with weights 1 : 3, where every chain starts in the first."""
    yield "| dimensions | ‖m‖, σ | sampler | gradients | in the other mode (75 %) | σ² off by |"
    yield "|---|---|---|---|---|---|"
    for dim, distance, sigma, gradients in cases:
        m = torch.full((dim,), distance / dim**0.5)

        def density(state: State, m: Tensor = m, sigma: float = sigma) -> Tensor:
            near, far = ((state["z"] - c).square().sum(1) / (-2 * sigma**2) for c in (m, -m))
            return torch.logaddexp(math.log(weight) + near, math.log(1 - weight) + far)

        start = {"z": m + sigma * standard_normal({"z": (dim,)}, count, stream(0, "start"))["z"]}
        step = {"step_size": 0.3 * sigma, "warmup": 20}
        for choice in (
            Choice("latent-ld", {"step_size": 0.1 * sigma**2}),
            Choice("latent-mala", {"step_size": 0.1 * sigma**2, "warmup": 20}),
            Choice("latent-hmc", {"leapfrog": 10, **step}),
            Choice("latent-tempered", {"rungs": 1, **step}),
            Choice("latent-tempered", {"rungs": 4, "hottest": 10.0, **step}),
            Choice("latent-tempered", {"rungs": 8, "hottest": 20.0, **step}),
        ):
            z = chain(choice, gradients, start, density).end["z"]
            crossed = z @ m < 0
            spread = (z - torch.where(crossed[:, None], -m, m)).square().mean() / sigma**2 - 1
            there = percent(float(crossed.double().mean()))
            yield (
                f"| {dim} | {distance:g}, {sigma:g} | {choice} | {gradients:,} | {there} "
                f"| {100 * float(spread):+.1f} % |"
            )


class Samples(NamedTuple):
    """What is told of samples, or of weighted ones."""

    inside: float
    energy: float
    shares: Tensor
    """(modes + 1,), those in no mode first"""


@torch.no_grad()
def told(model: Model, data: ModalDataset, state: State, weights: Tensor | None = None) -> Samples:
    assert model.generator is not None
    assert model.energy is not None
    x = model.generator.decode(state).x
    energy = model.energy(x).double()
    if weights is None:
        weights = torch.full_like(energy, 1 / len(x))
    shares = torch.zeros(data.modes + 1, dtype=torch.float64).index_add_(0, data.mode_of(x) + 1, weights)
    return Samples(1 - float(shares[0]), float((weights * energy).sum()), shares)


@torch.no_grad()
def perfect(model: Model, data: ModalDataset, draws: int = 400_000) -> Samples:
    """Weighted samples of the generator."""
    assert model.generator is not None
    assert model.energy is not None
    eps = standard_normal(model.generator.groups, draws, stream(1, "perfect"), model.like)
    log_weight = -model.energy(model.generator.decode(eps).x).double()
    return told(model, data, eps, torch.softmax(log_weight, 0))


def run_table(model: Model, data: ModalDataset, budgets: list[int], count: int, eta: float) -> Iterator[str]:
    assert model.generator is not None
    assert model.energy is not None
    yield (
        "| sampler | gradients | accepted | within 4σ | mean E | fullest, emptiest mode "
        "| shares off by | seconds |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    exact = perfect(model, data)
    choices = [
        Choice("latent-ld", {"step_size": eta, "grad_clip": 200.0}),
        Choice("latent-mala", {"step_size": eta, "warmup": 0}),
        Choice("latent-mala", {"step_size": eta, "warmup": 0, "grad_clip": 200.0}),
        Choice("latent-mala", {"step_size": eta}),
        Choice("latent-mala", {"step_size": eta, "warmup": 50}),
        Choice("latent-hmc", {"step_size": eta**0.5}),
        Choice("latent-tempered", {"step_size": eta**0.5, "rungs": 1}),
        Choice("latent-tempered", {"step_size": eta**0.5, "rungs": 3}),
    ]

    def line(name: str, gradients: str, accepted: str, s: Samples, seconds: str) -> str:
        relative = s.shares[1:] * data.modes
        off = 0.5 * float((s.shares - exact.shares).abs().sum())
        return (
            f"| {name} | {gradients} | {accepted} | {100 * s.inside:.1f} % | {s.energy:.3f} "
            f"| {float(relative.max()):.2f}, {float(relative.min()):.2f} | {100 * off:.1f} % | {seconds} |"
        )

    density = latent_density(model.generator, model.energy)
    with frozen(model.energy):
        for gradients in budgets:
            for choice in choices:
                start = standard_normal(model.generator.groups, count, stream(0, "start"), model.like)
                found = chain(choice, gradients, start, density)
                s = told(model, data, found.end)
                accepted, seconds = percent(found.acceptance), f"{found.seconds:.0f}"
                yield line(str(choice), f"{gradients:,}", accepted, s, seconds)
    chosen = torch.multinomial(exact.shares, count, replacement=True, generator=stream(2, "noise"))
    ideal = torch.bincount(chosen, minlength=data.modes + 1).double() / count
    yield line(f"h itself, {count:,} draws", "", "", exact._replace(shares=ideal), "")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("run", type=Path, nargs="?", help="a finished run on data with modes")
    options.add_argument("--gradients", type=int, nargs="+", default=[100, 1000], help="per chain")
    options.add_argument("--count", type=int, default=2000, help="chains")
    options.add_argument("--step-size", type=float, default=3e-4, help="η of Langevin steps on a run")
    o = options.parse_args()
    if o.run is None:
        print_lines(lambda: gaussian_table(o.gradients, o.count))
        print()
        print_lines(lambda: two_modes_table(CASES, o.count))
        return
    run = RunDirectory.open(o.run, installed())
    data = build_dataset(run.recipe)
    if not isinstance(data, ModalDataset):
        options.error(f"the data of {o.run} have no modes; take a run on gaussians25")
    model = load_model(run, torch.device("cpu"))
    print_lines(lambda: run_table(model, data, o.gradients, o.count, o.step_size))


def print_lines(lines: Callable[[], Iterator[str]]) -> None:
    for line in lines():
        print(line, flush=True)


if __name__ == "__main__":
    main()
