"""What commands cost that compute nothing: CPU seconds, and whether they import torch.

    python benchmarks/startup.py --repeats 5

Asked: below half a second, without torch.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys

COMMANDS = (["--help"], ["plugins", "list"], ["run", "--help"], ["recipes", "list"], ["evaluate", "--help"])
PROGRAM = (
    "import sys; sys.argv[0] = 'vaebm'; from vaebm_toolkit.cli import main\n"
    "try: main()\n"
    "finally: sys.stderr.write('torch' if 'torch' in sys.modules else 'none')"
)


def cpu_seconds(arguments: list[str]) -> tuple[float, bool]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"vaebm {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, done.stderr.endswith("torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    for arguments in COMMANDS:
        cpu_seconds(arguments)  # warm the disk's cache
        found = [cpu_seconds(arguments) for _ in range(repeats)]
        spent = [s for s, _ in found]
        imported = "with torch" if any(torch for _, torch in found) else "no torch"
        print(
            f"vaebm {' '.join(arguments):20s} {statistics.median(spent):.2f} s of CPU "
            f"({min(spent):.2f} to {max(spent):.2f}), {imported}"
        )


if __name__ == "__main__":
    main()
