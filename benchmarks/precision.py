"""Whether chains in bf16 draw from the same distribution: energies and Fréchet distance beside float32's.

    python benchmarks/precision.py RUN --count 1000

Chains of a trained run, in float32 and under bf16 autocast (weights and state stay in float32, as in
training with --precision bf16), from the same noise, and in float32 again from other noise: what chance
alone makes of the figures. All energies of the results are computed in float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from vaebm_toolkit.building import build_dataset
from vaebm_toolkit.evaluation.frechet import frechet_distance
from vaebm_toolkit.evaluation.sampling import samples
from vaebm_toolkit.registry import installed
from vaebm_toolkit.trained import load_model
from vaebm_toolkit.training.device import autocast, choose_device
from vaebm_toolkit.training.rundir import RunDirectory


def main() -> None:
    config = arguments()
    device = choose_device(config.device)
    run = RunDirectory.open(config.run, installed())
    model = load_model(run, device)
    if model.energy is None:
        raise SystemExit(f"{config.run} has no energy, and so no chains.")
    test = build_dataset(run.recipe).test
    held_out = test.batch(torch.arange(len(test))).flatten(1)

    def drawn(precision: str, seed: int) -> Tensor:
        with autocast(device, precision):
            batches = list(samples(model, range(config.count), seed, config.batch, device, model.like))
        return torch.cat(batches).float()

    x = {"float32": drawn("fp32", 0), "bf16": drawn("bf16", 0), "float32, other noise": drawn("fp32", 1)}
    with torch.no_grad():
        energies = {
            name: torch.cat([model.energy(b) for b in v.split(config.batch)]).cpu() for name, v in x.items()
        }
    base, critical = energies["float32"], 1.36 * (2 / config.count) ** 0.5
    print(
        f"{config.count} samples of {config.run.name}, {device}; 1 in 20 equal pairs has KS > {critical:.3f}"
    )
    print(f"{'':22s} {'energy: mean':>12s} {'std':>8s} {'KS':>7s} {'Fréchet':>9s} {'|x − x₀|, mean':>15s}")
    for name, e in energies.items():
        distance = frechet_distance(x[name].flatten(1).cpu(), held_out)
        apart = float((x[name] - x["float32"]).abs().mean())
        print(
            f"{name:22s} {float(e.mean()):12.2f} {float(e.std()):8.2f} {kolmogorov_smirnov(e, base):7.3f} "
            f"{distance:9.4f} {apart:15.2e}"
        )


def kolmogorov_smirnov(a: Tensor, b: Tensor) -> float:
    """Largest difference between the two empirical distribution functions."""
    at = torch.cat([a, b]).sort().values
    of = [torch.searchsorted(v.sort().values, at, right=True) / len(v) for v in (a, b)]
    return float((of[0] - of[1]).abs().max())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
