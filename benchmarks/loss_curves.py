"""Whether bf16 trains a generator as float32 does: losses of its own stage, window by window.

    python benchmarks/loss_curves.py --steps 2000

Three runs of `vaebm run --trainer none`: in float32, with --precision bf16 from the same weights on the same
batches, and in float32 with another seed: what chance alone makes of the figures. Unknown options go to
`vaebm run`, e.g. --generator.channels 8.

Then the ELBO of training images by each run's weights, computed in either precision: whether bf16 has changed
what was learned, or only how it is measured. CPU seconds are those of training steps alone: a run of one step
is taken off.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from vaebm_toolkit.building import build_dataset
from vaebm_toolkit.core import stream
from vaebm_toolkit.registry import installed
from vaebm_toolkit.trained import load_autoencoder
from vaebm_toolkit.training.device import autocast, choose_device
from vaebm_toolkit.training.rundir import RunDirectory, read_log

RUNS = {"float32": ("fp32", 0), "bf16": ("bf16", 0), "float32, other seed": ("fp32", 1)}


def main() -> None:
    given, options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.out or Path(temporary)
        losses, seconds, bounds = {}, {}, {}
        for name, (precision, seed) in RUNS.items():
            common = ["--recipe", given.recipe, "--precision", precision, "--seed", str(seed), *options]
            out = folder / f"{precision}-{seed}"
            rest = trained(folder / f"{precision}-{seed}-start", 1, common)
            seconds[name] = (trained(out, given.steps, common) - rest) / max(given.steps - 1, 1)
            bounds[name] = elbo(out, "fp32"), elbo(out, "bf16")
            records = [r for r in read_log(out / "log.jsonl") if r["stage"] == "pretrain"]
            losses[name] = [float(r["generator_loss"]) for r in records if "generator_loss" in r]
    base, bf16, other = losses.values()
    print("| steps | float32 | bf16 | bf16 − float32 | other seed − float32 |\n|---|---|---|---|---|")
    for start in range(0, given.steps, given.window):
        a, b, c = (sum(v) / len(v) for v in (x[start : start + given.window] for x in (base, bf16, other)))
        end = min(start + given.window, given.steps)
        print(f"| {start + 1:,} to {end:,} | {a:.3f} | {b:.3f} | {b - a:+.3f} | {c - a:+.3f} |")
    for name, (exact, rounded) in bounds.items():
        print(f"ELBO by the weights of {name}: {exact:.3f} in float32, {rounded:.3f} in bf16")
    print("CPU seconds per step: " + ", ".join(f"{name} {s:.4f}" for name, s in seconds.items()))


def trained(out: Path, steps: int, options: list[str]) -> float:
    """CPU seconds of a run of the generator's stage alone, which logs every step."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "vaebm_toolkit", "run", "--trainer", "none", "--evaluate.samples", "0",
         "--pretrain.epochs", "none", "--pretrain.steps", str(steps), "--pretrain.log-every", "1",
         *options, "--out", str(out), "-q"], check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@torch.no_grad()
def elbo(out: Path, precision: str, count: int = 1000, batch: int = 100) -> float:
    """Mean over the first training images, from the same noise in every call; nats."""
    device, run = choose_device("auto"), RunDirectory.open(out, installed())
    model, train = load_autoencoder(run, device), build_dataset(run.recipe).train
    found = []
    for start in range(0, min(count, len(train)), batch):
        x = train.batch(torch.arange(start, min(start + batch, count, len(train)))).to(device)
        with autocast(device, precision):
            log_px, kl = model.elbo(x, stream(0, "loss-curves", start, device=device))
        found.append(log_px.float() - kl.float().sum(1))
    return float(torch.cat(found).mean())


def arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--window", type=int, default=200, help="steps that a mean is taken over")
    parser.add_argument("--out", type=Path, help="keep the runs in this folder")
    return parser.parse_known_args()


if __name__ == "__main__":
    main()
