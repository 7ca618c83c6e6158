"""Alternating measurements, their summary, and what the machine could do at best."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vaebm_toolkit.training.metering import Meter, tensors

SHORT = 5.0
"""Seconds below which what another arrangement left behind can be seen in a run."""


class Measured(NamedTuple):
    wall: float
    """seconds"""
    cpu: float
    """seconds, user and system, of this process"""


def clocked(work: Callable[[], Any]) -> Measured:
    wait()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wait()
    return Measured(time.perf_counter() - wall, time.process_time() - cpu)


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternating(work: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[Measured]]:
    """Each arrangement `repeats` times, in turns, so that all meet the same machine.

    Where a run is short, another one before each that counts: memory is as this arrangement leaves it.
    """
    runs: dict[str, list[Measured]] = {name: [] for name in work}
    warm = {name: clocked(run).wall for name, run in work.items()}
    for _ in range(repeats):
        for name, run in work.items():
            if warm[name] < SHORT:
                run()
            runs[name].append(clocked(run))
    return runs


def summary(runs: list[Measured], reference: list[Measured]) -> dict[str, Any]:
    """Seconds. `ratio` compares medians of wall time, `ratio_min` the fastest runs, `ratio_cpu` CPU time."""

    def median(of: list[Measured], key: str) -> float:
        return statistics.median(getattr(m, key) for m in of)

    walls = [m.wall for m in runs]
    quartiles = statistics.quantiles(walls, n=4) if len(walls) > 1 else [walls[0]] * 3
    return {
        "wall_median": median(runs, "wall"), "wall_min": min(walls),
        "wall_quartiles": [quartiles[0], quartiles[2]], "cpu_median": median(runs, "cpu"),
        "ratio": median(reference, "wall") / median(runs, "wall"),
        "ratio_min": min(m.wall for m in reference) / min(walls),
        "ratio_cpu": median(reference, "cpu") / median(runs, "cpu"),
    }  # fmt: skip


def peak_mib(work: Callable[..., Any], *arguments: Any) -> float:
    """MiB resident at most while a process of its own does the work; on CUDA, allocated there."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(alone, (work, *arguments))


def alone(work: Callable[..., Any], *arguments: Any) -> float:
    work(*arguments)
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Traffic(TorchDispatchMode):
    """Bytes that operations read and write, each operand once per operation."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            self.total += sum(t.nbytes for t in tensors((args, kwargs, out)))
        return out


class Machine(NamedTuple):
    """What it does at best, as measured now."""

    matrix: float
    """floating-point operations per second of a large matrix product"""
    bandwidth: float
    """bytes per second of a large copy, read and written"""


def machine(device: torch.device, repeats: int = 5) -> Machine:
    n = 4096 if device.type == "cuda" else 1536
    a, b = torch.rand(n, n, device=device), torch.rand(n, n, device=device)
    x, y = torch.empty(2**26, device=device), torch.rand(2**26, device=device)
    product = min(clocked(lambda: a @ b).wall for _ in range(repeats))
    copy = min(clocked(lambda: x.copy_(y)).wall for _ in range(repeats))
    return Machine(2 * n**3 / product, 2 * x.nbytes / copy)


def floor(work: Callable[[], Any], best: Machine) -> dict[str, float]:
    """Seconds below which the work cannot fall: its arithmetic alone, and its traffic alone."""
    with Meter() as meter:
        work()
    with Traffic() as traffic:
        work()
    return {
        "gflop": meter.flops / 1e9, "gbyte": traffic.total / 1e9,
        "matrix_seconds": meter.flops / best.matrix, "traffic_seconds": traffic.total / best.bandwidth,
    }  # fmt: skip
