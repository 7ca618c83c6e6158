"""How much memory an evaluation of many samples takes above the model's.

    python benchmarks/evaluation_memory.py --count 50000

Makes a run of the smallest networks on 32 × 32 colour images, evaluates `--count` of its samples by a Fréchet
distance on features that are kept on disk, and prints the process's largest memory before and after. One
process for each count, since a process's largest memory does not fall.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TINY = [
    "--generator.channels", "8", "--generator.groups", "1", "--energy.width", "8",
    "--pretrain.epochs", "none", "--pretrain.steps", "2", "--pretrain.bn-passes", "1",
    "--trainer.steps", "2", "--sampling.steps", "2",
    "--sampler.steps", "2", "--dataset.size", "32",
]  # fmt: skip
METRICS = ["-m", "frechet", "-f", "classifier"]


def gibibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def one(run: str, count: int) -> None:
    """In a process of its own: prints JSON of the memory with a model alone, and after the evaluation."""
    from vaebm_toolkit import cli

    def vaebm(*args: str) -> None:
        sys.argv = ["vaebm", *args]
        cli.main()

    vaebm("evaluate", run, *METRICS, "-n", "200", "-q")
    model, begun = gibibytes(), time.time()
    vaebm("evaluate", run, *METRICS, "-n", str(count), "-q")
    found = {"count": count, "model": model, "after": gibibytes(), "seconds": time.time() - begun}
    print("FOUND " + json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, nargs="+", default=[1000, 50_000])
    parser.add_argument("--run", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        one(given.run, given.count[0])
        return
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        data = Path(folder, "data.npz")
        images = rng.integers(0, 256, (2000, 32, 32, 3), dtype=np.uint8)
        np.savez(data, images=images, labels=np.arange(2000) % 10)
        run = str(Path(folder, "run"))
        subprocess.run(
            [sys.executable, "-m", "vaebm_toolkit", "run", "--dataset", "npz", "--dataset.path", data, *TINY,
             "--evaluate.samples", "0", "--out", run, "-q"], check=True,
        )  # fmt: skip
        print("| samples | with 200, GiB | after, GiB | above | seconds |\n|---|---|---|---|---|")
        for count in given.count:
            command = [sys.executable, __file__, "--run", run, "--count", str(count)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            f = json.loads(out.split("FOUND ")[1])
            above = f["after"] - f["model"]
            print(f"| {count:,} | {f['model']:.2f} | {f['after']:.2f} | {above:.2f} | {f['seconds']:.0f} |")


if __name__ == "__main__":
    main()
