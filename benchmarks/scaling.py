"""What the published recipes cost on 1, 8 and 64 GPUs: a calculation, and its test on a small measured case.

    python benchmarks/scaling.py              the tables of docs/scaling-plan.md, no GPU needed, some minutes
    python benchmarks/scaling.py --measure    a small NVAE step in 1, 2 and 4 processes, against the model

One step on n devices takes F(b)/R + C(n): F(b) floating-point operations for its share b of the batch at
the rate R, then C(n) for the gradients and BatchNorm statistics, with nothing of it hidden behind arithmetic.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

RATE = 5.1e12
"""FLOP/s: 50 CIFAR-10 images by 16 Langevin steps in 8.79 s (published), at 56 GFLOP per image and step"""
BUCKET = 25e6
"""bytes of gradients per message"""
EXAMPLES = {"vaebm-cifar10": 50_000, "vaebm-celeba64": 162_770, "vaebm-lsun-church64": 126_227,
            "vaebm-celebahq256": 27_000}  # fmt: skip


class Link(NamedTuple):
    bandwidth: float
    """bytes/s out of each device"""
    latency: float
    """s per hop"""


def link(n: int) -> Link:
    """Assumed: within a machine of 8 GPUs 100 GB/s and 10 µs, between machines 12 GB/s and 20 µs."""
    return Link(100e9, 10e-6) if n <= 8 else Link(12e9, 20e-6)


def ring_volume(size: float, n: int) -> float:
    """Bytes that each device sends in a ring all-reduce of `size` bytes.

    >>> ring_volume(8.0, 1), ring_volume(8.0, 2), ring_volume(8.0, 8)
    (0.0, 8.0, 14.0)
    """
    return size * 2 * (n - 1) / n


def ring_time(size: float, n: int, messages: float, over: Link) -> float:
    """Seconds: volume / bandwidth in a ring + 2⌈log₂ n⌉ hops of each message, as along a tree.

    >>> ring_time(1e9, 1, 10, Link(1e9, 1.0))
    0.0
    """
    return ring_volume(size, n) / over.bandwidth + 2 * (n - 1).bit_length() * messages * over.latency


class Stage(NamedTuple):
    """One stage of a recipe."""

    batch: int
    steps: int
    fixed: float
    """FLOP of a step whatever the batch"""
    each: float
    """FLOP of a step per example"""
    gradient: float
    """bytes"""
    norms: int
    """BatchNorm layers whose statistics are averaged: a message forwards and one backwards"""
    channels: int
    """of all of them together"""

    def share(self, n: int) -> int:
        return -(-self.batch // n)

    def volume(self, n: int) -> float:
        """Bytes that a device sends per step: gradients; sums and squares, twice."""
        return ring_volume(self.gradient + 2 * 2 * 4 * self.channels, n)

    def seconds(self, n: int, rate: float = RATE) -> float:
        messages = -(-self.gradient // BUCKET) + 2 * self.norms
        spoken = ring_time(self.gradient + 16 * self.channels, n, messages, link(n))
        return (self.fixed + self.each * self.share(n)) / rate + spoken

    def efficiency(self, n: int, rate: float = RATE) -> float:
        return self.seconds(1, rate) / (n * self.seconds(n, rate))

    def alone(self) -> Stage:
        """The same with BatchNorm statistics of each device's own examples."""
        return self._replace(norms=0, channels=0)

    def most(self, least: float = 0.5, rate: float = RATE) -> int:
        """The largest power of two of devices, at most one per example, at that efficiency or better."""
        fitting = [2**k for k in range(self.batch.bit_length()) if 2**k <= self.batch]
        return max(n for n in fitting if self.efficiency(n, rate) >= least)


def tables(rate: float) -> None:
    """Markdown: cost and scaling of each recipe and stage."""
    from vaebm_toolkit import recipe as recipes
    from vaebm_toolkit.registry import installed
    from vaebm_toolkit.training.cost import Estimator
    from vaebm_toolkit.training.fits import size

    head = (
        "recipe, stage", "steps", "batch", "GFLOP per step", "memory on 1, 8, 64", "sent per step on 8, 64",
        "hours on 1, 8, 64", "efficiency on 8, 64", "without statistics", "largest useful number",
    )  # fmt: skip
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for name, examples in EXAMPLES.items():
        estimator = Estimator(recipes.resolve(recipes.read(name), installed()))
        for table, player in (("pretrain", "generator"), ("trainer", "energy")):
            settings = estimator.recipe.parts[table].stage
            batch = settings.batch_size
            steps = settings.steps or settings.epochs * (examples // batch)
            costs = {n: estimator.cost(table, batch_size=-(-batch // n)) for n in (1, 8, 64)}
            each = (costs[1].flops - costs[8].flops) / (batch - -(-batch // 8))
            network = estimator.parts(estimator.recipe)[player]
            norms = [m.num_features for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
            stage = Stage(
                batch, steps, costs[1].flops - each * batch, each,
                sum(p.nbytes for p in network.parameters()), len(norms), sum(norms),
            )  # fmt: skip
            many = [n for n in (1, 8, 64) if n <= batch]
            cells = [
                f"{name}, {table}", f"{steps:,}", str(batch), f"{costs[1].flops / 1e9:,.0f}",
                ", ".join(size(costs[n].memory) for n in many),
                ", ".join(size(stage.volume(n)) for n in many[1:]),
                ", ".join(f"{stage.seconds(n, rate) * steps / 3600:,.1f}" for n in many),
                ", ".join(f"{stage.efficiency(n, rate):.0%}" for n in many[1:]),
                ", ".join(f"{stage.alone().efficiency(n, rate):.0%}" for n in many[1:]) if norms else "",
                str(stage.most(rate=rate)),
            ]  # fmt: skip
            print(f"| {' | '.join(cells)} |", flush=True)


def process(rank: int, n: int, batch: int, repeats: int, port: int, out: object) -> None:
    """One process of a measurement: its share of the batch, then the flat gradient averaged over all."""
    from vaebm_nvae.network import build
    from vaebm_nvae.options import NVAEOptions
    from vaebm_toolkit.core import stream

    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=n)
    torch.manual_seed(0)
    model = build(NVAEOptions(channels=16, groups=4, latent=4), (3, 32, 32)).train()
    weights = list(model.parameters())
    x = torch.rand(batch // n, 3, 32, 32, generator=torch.Generator().manual_seed(rank))
    times = []
    for step in range(repeats + 1):
        dist.barrier()
        start = time.perf_counter()
        elbo = model.elbo(x, stream(0, step, rank))
        gradients = torch.autograd.grad((elbo.kl.sum(1) - elbo.log_px).mean(), weights, allow_unused=True)
        middle = time.perf_counter()
        flat = torch.cat([g.flatten() for g in gradients if g is not None]) / n
        dist.all_reduce(flat)
        end = time.perf_counter()
        times.append((end - start, middle - start))
    alone = []
    for _ in range(10):  # the exchange by itself, when all have come
        dist.barrier()
        start = time.perf_counter()
        dist.all_reduce(flat)
        alone.append(time.perf_counter() - start)
    if rank == 0:
        whole, arithmetic = (sorted(t)[len(t) // 2] for t in zip(*times[1:], strict=True))
        out.put((whole, arithmetic, sorted(alone)[5], flat.numel() * 4))  # type: ignore[attr-defined]
    dist.destroy_process_group()


def run(n: int, batch: int, repeats: int) -> tuple[float, float, float, int]:
    """Medians in seconds: a step, its arithmetic, the exchange alone; bytes of the gradient."""
    context = mp.get_context("spawn")
    out = context.SimpleQueue()
    mp.spawn(process, (n, batch, repeats, 29500 + os.getpid() % 1000 + n, out), nprocs=n)
    return out.get()  # type: ignore[no-any-return]


def measure(batch: int, repeats: int) -> None:
    """Markdown: seconds per step predicted from one process and from the exchange alone, and measured."""
    one, small = run(1, batch, repeats), run(1, batch // 2, repeats)
    each = (one[0] - small[0]) / (batch / 2)
    fixed = one[0] - each * batch
    print(f"one process: {fixed:.3f} s + {each * 1e3:.1f} ms per example; gradient {one[3] / 2**20:.1f} MiB")
    print(
        "\n| processes | exchange alone | predicted | measured | measured arithmetic |\n|---|---|---|---|---|"
    )
    print(f"| 1 | | | {one[0]:.3f} s | {one[1]:.3f} s |")
    for n in (2, 4):
        found = run(n, batch, repeats)
        crowd = max(1.0, n / (os.cpu_count() or 1))  # processes that share a core take turns
        predicted = crowd * (fixed + each * batch / n) + found[2]
        print(f"| {n} | {found[2] * 1e3:.1f} ms | {predicted:.3f} s | {found[0]:.3f} s | {found[1]:.3f} s |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="a small case on this machine instead")
    parser.add_argument("--rate", type=float, default=RATE, help="FLOP/s that a device reaches")
    parser.add_argument(
        "--batch", type=int, default=32, help="examples per measured step, over all processes"
    )
    parser.add_argument("--repeats", type=int, default=7, help="measured steps; medians are printed")
    given = parser.parse_args()
    if given.measure:
        measure(given.batch, given.repeats)
    else:
        tables(given.rate)


if __name__ == "__main__":
    main()
