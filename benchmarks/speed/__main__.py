"""Our speed against the reference arrangement's: one process, in turns, on the same weights and noise.

    python benchmarks/speed --repeats 5 --json speed.json
    python benchmarks/speed langevin nvae-step

Before anything is timed the results are compared, and a difference above rounding ends the benchmark.
Times are medians of wall time with quartiles; memory is the peak of a process of its own. The floor is
what the arithmetic alone would take at this machine's measured rate of matrix products, and what the
traffic alone would take at its measured bandwidth.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch
from cases import CASES, Case, once
from clock import alternating, floor, machine, peak_mib, summary

from vaebm_toolkit.cli import process


def main() -> None:
    config = arguments()
    process.keep_freed_memory()
    torch.set_num_threads(config.threads)
    device = torch.device(config.device)
    # Before this process grows: a child's peak starts from its parent's size.
    memory = {
        name: {a: peak_mib(once, name, a, config.device, config.threads) for a in arrangements_of(name)}
        for name in config.cases if config.memory
    }  # fmt: skip
    best = machine(device)
    print(
        f"{device}, {config.threads} threads, torch {torch.__version__}: "
        f"{best.matrix / 1e9:,.0f} GFLOP/s, {best.bandwidth / 1e9:.1f} GB/s"
    )
    found = {}
    for name in config.cases:
        found[name] = one(CASES[name](device), config.repeats, best, memory.get(name, {}))
        show(CASES[name], found[name], device)
    if config.json:
        about = {"torch": torch.__version__, "machine": platform.machine(), "device": config.device,
                 "threads": config.threads, "repeats": config.repeats, **best._asdict()}  # fmt: skip
        config.json.write_text(json.dumps({"about": about, "cases": found}, indent=2) + "\n")


def arrangements_of(name: str) -> list[str]:
    return ["reference", CASES[name].ours]


def one(case: Case, repeats: int, best: Any, memory: dict[str, float]) -> dict[str, Any]:
    differences = case.differences()
    wrong = [f"{k} {v:.1e}" for k, v in differences.items() if k in case.bounds and not v <= case.bounds[k]]
    if wrong:
        raise SystemExit(f"{case.name}: the arrangements disagree: {', '.join(wrong)}")
    runs = alternating(case.arrangements, repeats)
    rows = {a: {**summary(runs[a], runs["reference"]), "peak_mib": memory.get(a)} for a in runs}
    return {
        "differences": differences,
        "arrangements": rows,
        "floor": floor(case.arrangements[case.ours], best),
    }


def show(kind: type[Case], found: dict[str, Any], device: torch.device) -> None:
    asked = kind.asked[device.type == "cuda"]
    print(f"\n{kind.title}: asked {asked:g} times the reference")
    head = f"{'wall s: median (min), quartiles':>40s} {'cpu s':>8s} {'ratio (min; cpu)':>20s} {'MiB':>8s}"
    print(f"  {'':10s} {head}")
    for name, r in found["arrangements"].items():
        low, high = r["wall_quartiles"]
        wall = f"{r['wall_median']:.3f} ({r['wall_min']:.3f}), {low:.3f} to {high:.3f}"
        ratio = f"{r['ratio']:.2f} ({r['ratio_min']:.2f}; {r['ratio_cpu']:.2f})"
        peak = "" if r["peak_mib"] is None else f"{r['peak_mib']:,.0f}"
        print(f"  {name:10s} {wall:>40s} {r['cpu_median']:8.3f} {ratio:>20s} {peak:>8s}")
    f = found["floor"]
    print(
        f"  floor: {f['gflop']:.1f} GFLOP in {f['matrix_seconds']:.3f} s, "
        f"{f['gbyte']:.2f} GB in {f['traffic_seconds']:.3f} s"
    )
    print("  differences: " + ", ".join(f"{k} {v:.1e}" for k, v in found["differences"].items()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/speed", description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"which; by default all: {', '.join(CASES)}")
    parser.add_argument("--repeats", type=int, default=5, help="of each arrangement")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path, help="write the figures here")
    config = parser.parse_args()
    unknown = sorted(set(config.cases) - set(CASES))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(CASES)}")
    config.cases = config.cases or list(CASES)
    return config


if __name__ == "__main__":
    main()
