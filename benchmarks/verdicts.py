"""Does any verdict of the contract tests hang on its seed?

    python benchmarks/verdicts.py --seeds 50 [--part generator/nvae …]

Every part of this project is judged by all claims of its kind, and every broken part of
`tests/testing/mutants` by the claim that has to catch it, with as many seeds; what fails, or is not caught,
is listed. What needs other values of options is left out: it draws nothing.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from vaebm_toolkit.options import fields
from vaebm_toolkit.registry import OWN, Registered, discover
from vaebm_toolkit.testing.checking import found
from vaebm_toolkit.testing.claims import Claim, judge
from vaebm_toolkit.testing.subject import settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/testing"))
FILES = {"path", "root"}
"""Options of data sets that are read from files, which are no part of this project."""


def sound() -> Iterator[tuple[str, Registered]]:
    for (kind, name), part in discover().parts.items():
        files = kind == "dataset" and FILES & set(fields(part.component.options))
        if part.distribution in OWN and kind != "importer" and not files:
            yield f"{kind}/{name}", part


def failures(part: Registered, claims: Iterable[Claim], seeds: int) -> Counter[str]:
    """Claim -> in how many of the seeds it fails."""
    module = importlib.import_module(f"vaebm_toolkit.testing.{part.component.kind}")
    counted: Counter[str] = Counter()
    for seed in range(1, 1 + seeds):
        with settings(seed=seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            verdicts = judge(claims, module.SUBJECT(part, seed=seed))
        counted.update(v.claim for v in verdicts if v.status == "failed")
    return counted


def claims_of(part: Registered) -> list[Claim]:
    return list(importlib.import_module(f"vaebm_toolkit.testing.{part.component.kind}").CLAIMS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument(
        "--part", nargs="*", default=[], help="only those whose names hold one of these texts"
    )
    given = parser.parse_args()
    from mutants import MUTANTS

    def wanted(name: str) -> bool:
        return not given.part or any(text in name for text in given.part)

    unsteady, judged = 0, 0
    for name, part in sound():
        if wanted(name):
            start = time.perf_counter()
            failed = failures(part, claims_of(part), given.seeds)
            unsteady, judged = unsteady + bool(failed), judged + 1
            print(f"{name}: {dict(failed) or 'passes'} ({time.perf_counter() - start:.0f} s)", flush=True)
    for name, mutant in MUTANTS.items():
        part = found(mutant.component(), None)
        claims = [c for c in claims_of(part) if c.name == mutant.claim]
        if claims and wanted(name):
            caught = failures(part, claims, given.seeds)[mutant.claim]
            unsteady, judged = unsteady + (caught < given.seeds), judged + 1
            if caught < given.seeds:
                print(f"{name}: caught with {caught} of {given.seeds} seeds", flush=True)
    print(f"{judged} parts with {given.seeds} seeds each: {unsteady} of them with a verdict that hangs on it")
    return bool(unsteady)


if __name__ == "__main__":
    sys.exit(main())
