"""One Langevin step of VAEBM: arranged as in the released code, and as this toolkit runs it.

    python benchmarks/langevin_step.py --repeats 9 --json langevin_step.json

All arrangements run in one process, in turns, on the same weights, state and noise, in
float32, at the configuration of a small CIFAR-10 model:

reference   the networks as they are trained: weight norm and BatchNorm evaluated at every
            call, swish as x · sigmoid(x), one `backward()` that also reaches the energy's
            weights, contiguous tensors, the state updated group by group in Python; the
            released code's target
official    the same target through the toolkit: `generator.frozen()`, the energy under
            `core.frozen`, a step of the sampler `latent-ld`
exact       the same with the toolkit's default target, −E(T(ε)) − ½‖ε‖²

Before anything is timed, energies and new states are compared: `official` with `reference`,
`exact` with the same target through the networks as they are trained. Memory is the peak
of a process that builds the networks and takes one step.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebm_igebm.options import ResNetOptions
from vaebm_igebm.resnet import build as build_energy
from vaebm_langevin.kernel import LatentLangevin
from vaebm_langevin.options import LatentOptions
from vaebm_nvae.network import build as build_generator
from vaebm_nvae.options import NVAEOptions
from vaebm_toolkit import core

ARRANGEMENTS = ("reference", "official", "exact")
SHAPE = (3, 32, 32)


class Problem(NamedTuple):
    """Networks and a state, the same for every arrangement."""

    generator: core.Autoencoder
    frozen: core.Generator
    energy: core.EnergyFunction
    state: core.State
    seed: int


def problem(config: argparse.Namespace) -> Problem:
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    options = NVAEOptions(channels=config.channels, groups=config.groups, latent=config.latent)
    generator = build_generator(options, SHAPE)
    generator.recalibrate(4, 8, core.stream(config.seed, "recalibrate"))
    generator.eval().requires_grad_(False)
    state = core.standard_normal(generator.groups, config.batch, core.stream(config.seed, "state"))
    energy = build_energy(ResNetOptions(width=config.width, layout="cifar10"), SHAPE)
    with torch.no_grad():
        energy.initialise(generator.decode({k: v[:8] for k, v in state.items()}).x)
    return Problem(generator, generator.frozen(), energy.eval(), state, config.seed)


def reference_step(p: Problem, step_size: float, rng: torch.Generator) -> core.State:
    """ε ← ε − (η/2) B ∇ mean_b U + √η ω, with U = E(x) − log p(z) − log p(x | z)."""
    state = {k: v.clone().requires_grad_() for k, v in p.state.items()}
    with (
        mock.patch.object(F, "silu", lambda x: x * torch.sigmoid(x)),
        mock.patch.object(torch, "channels_last", torch.contiguous_format),
    ):
        x, log_joint = p.generator.official_log_joint(state)
        (p.energy(x) - log_joint).mean().backward()
    for value in state.values():
        noise = core.randn_like(value, rng)
        value.data.add_(value.grad, alpha=-step_size / 2 * len(value))
        value.data.add_(noise, alpha=math.sqrt(step_size))
    return {k: v.detach() for k, v in state.items()}


class Measured(NamedTuple):
    state: core.State
    wall: float
    cpu: float
    faults: int


def take_step(p: Problem, arrangement: str) -> Measured:
    """One step and what it cost; a chain's fixed costs, freezing above all, are not in it."""
    rng = core.stream(p.seed, "noise")
    options = LatentOptions(target="exact" if arrangement == "exact" else "official")
    sampler = LatentLangevin(options)
    if arrangement == "reference":
        measured = clocked(lambda: reference_step(p, options.step_size, rng))
        p.energy.zero_grad()
        return measured
    density = core.target_density(sampler, p.frozen, p.energy)
    with core.frozen(p.energy):
        return clocked(lambda: sampler.step(p.state, density, rng)[0])


def clocked(step: Callable[[], core.State]) -> Measured:
    def clocks() -> tuple[float, float, int]:
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        return time.perf_counter(), time.process_time(), faults

    before = clocks()
    state = step()
    return Measured(state, *(b - a for a, b in zip(before, clocks(), strict=True)))


def check(p: Problem) -> dict[str, float]:
    """Largest relative differences from the networks as they are trained; too large is an error."""
    found: dict[str, float] = {}
    with torch.no_grad():
        energies = [p.energy(g.decode(p.state).x) for g in (p.frozen, p.generator)]
    found["energy"] = difference(*energies)
    for target in ("official", "exact"):
        sampler = LatentLangevin(LatentOptions(target=target))
        with core.frozen(p.energy):
            ours, theirs = (
                core.value_and_grad(core.target_density(sampler, g, p.energy), p.state)[1]
                for g in (p.frozen, p.generator)
            )
        found[f"{target} gradient"] = max(difference(ours[k], theirs[k]) for k in p.state)
    states = [take_step(p, a).state for a in ("official", "reference")]
    found["new state"] = max(difference(states[0][k], states[1][k]) for k in p.state)
    bounds = {"energy": 1e-5, "new state": 1e-6}
    wrong = [f"{k} {v:.1e}" for k, v in found.items() if v > bounds.get(k, 1e-4)]
    if wrong:
        raise SystemExit(f"the arrangements disagree: {', '.join(wrong)}")
    return found


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max() / b.detach().abs().max())


def peak_memory(config: argparse.Namespace, arrangement: str) -> float:
    """MiB resident at most, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(step_alone, (config, arrangement))


def step_alone(config: argparse.Namespace, arrangement: str) -> float:
    p = problem(config)
    take_step(p, arrangement)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def summary(runs: list[Measured], reference: list[Measured], memory: float) -> dict[str, float]:
    """Seconds; `ratio` compares medians, `ratio_min` the fastest runs."""

    def median(key: str, of: list[Measured]) -> float:
        return statistics.median(getattr(m, key) for m in of)

    low, _, high = statistics.quantiles([m.wall for m in runs], n=4)
    return {
        "wall_median": median("wall", runs),
        "wall_min": min(m.wall for m in runs),
        "wall_quartiles": [low, high],
        "cpu_median": median("cpu", runs),
        "cpu_min": min(m.cpu for m in runs),
        "page_faults": median("faults", runs),
        "peak_mib": memory,
        "ratio": median("wall", reference) / median("wall", runs),
        "ratio_min": min(m.wall for m in reference) / min(m.wall for m in runs),
        "ratio_cpu": median("cpu", reference) / median("cpu", runs),
    }


def main() -> None:
    config = arguments()
    # Before this process grows: a child's peak starts from its parent's size.
    memory = {a: peak_memory(config, a) for a in ARRANGEMENTS}
    p = problem(config)
    agreement = check(p)
    runs: dict[str, list[Measured]] = {a: [] for a in ARRANGEMENTS}
    for _ in range(config.repeats):
        for arrangement in ARRANGEMENTS:
            runs[arrangement].append(take_step(p, arrangement))
    rows = {a: summary(runs[a], runs["reference"], memory[a]) for a in ARRANGEMENTS}

    print(f"one Langevin step, batch {config.batch}, {config.threads} threads, {config.repeats} repeats")
    print(f"{'':10s} {'wall s: median (min) quartiles':>36s} {'cpu s':>15s} {'ratio':>12s} {'peak MiB':>9s}")
    for name, r in rows.items():
        low, high = r["wall_quartiles"]
        print(
            f"{name:10s} {r['wall_median']:9.3f} ({r['wall_min']:.3f}) {low:7.3f} to {high:6.3f}"
            f" {r['cpu_median']:8.3f} ({r['cpu_min']:.3f})"
            f" {r['ratio']:5.2f} ({r['ratio_min']:.2f}) {r['peak_mib']:9.0f}"
        )
    print("largest relative difference: " + ", ".join(f"{k} {v:.1e}" for k, v in agreement.items()))
    if config.json:
        machine = {"torch": torch.__version__, "processor": platform.processor(), "system": platform.system()}
        settings = {k: v for k, v in vars(config).items() if k != "json"}
        result = {"config": settings, "machine": machine, "agreement": agreement, "arrangements": rows}
        config.json.write_text(json.dumps(result, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="steps timed per arrangement")
    parser.add_argument("--batch", type=int, default=32, help="chains")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--channels", type=int, default=32, help="channels of the generator")
    parser.add_argument("--groups", type=int, default=8, help="latent groups")
    parser.add_argument("--latent", type=int, default=8, help="latent channels per group")
    parser.add_argument("--width", type=int, default=32, help="width of the energy network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
