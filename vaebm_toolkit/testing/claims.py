"""Claims about a part: functions that measure one thing each, and the verdicts they come to. Torch-free."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

from vaebm_toolkit.errors import ToolkitError

Status = Literal["passed", "failed", "skipped"]
HERE = str(Path(__file__).parent)


class Fault(Exception):
    """A claim that does not hold: what was found, what was expected, and the usual fix."""

    def __init__(self, found: str, expected: str, fix: str) -> None:
        super().__init__(found)
        self.found, self.expected, self.fix = found, expected, fix

    def __str__(self) -> str:
        return f"found     {self.found}\nexpected  {self.expected}\nfix       {self.fix}"


class Skip(Exception):
    """A claim that cannot be measured on this part, and why."""


class Verdict(NamedTuple):
    """What became of one claim."""

    claim: str
    status: Status
    detail: str
    """failed: found, expected, fix, a line each; skipped: why; passed: a figure, or nothing"""
    seconds: float


class Claim(NamedTuple):
    """`check(subject)` returns a figure worth showing, or None; it raises Fault or Skip."""

    name: str
    words: str
    """what is claimed, in a line"""
    check: Callable[[Any], str | None]


class Claims(list[Claim]):
    """The claims about one kind of part, in order; `@claims.add` makes one of a function."""

    def add(self, function: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
        """The function's name, its underscores as spaces, is the claim's; its docstring, the words."""
        words = " ".join((function.__doc__ or "").split("\n\n")[0].split())
        self.append(Claim(function.__name__.replace("_", " "), words, function))
        return function


class ContractError(AssertionError):
    """A part breaks claims of its contract; `verdicts` has all of them."""

    def __init__(self, part: str, verdicts: list[Verdict]) -> None:
        self.verdicts = verdicts
        failed = [v for v in verdicts if v.status == "failed"]
        lines = [f"{part} breaks {len(failed)} of {len(verdicts)} claims."]
        for v in failed or [v for v in verdicts if v.status == "skipped"]:
            lines += ["", f"  {v.claim}", *(f"    {line}" for line in v.detail.splitlines())]
        super().__init__("\n".join(lines))


def judge(claims: Iterable[Claim], subject: Any) -> list[Verdict]:
    """One verdict for each claim; whatever a claim raises becomes one."""
    return [verdict(claim, subject) for claim in claims]


def verdict(claim: Claim, subject: Any) -> Verdict:
    before = time.perf_counter()
    status: Status = "passed"
    try:
        detail = claim.check(subject) or ""
    except Skip as e:
        status, detail = "skipped", str(e)
    except Fault as e:
        status, detail = "failed", str(e)
    except ToolkitError as e:
        said = f"{type(e).__name__}: {e.message} {e.fix}".rstrip()
        status, detail = (
            "failed",
            str(Fault(said, claim.words, "Refuse when the part is built, or not at all.")),
        )
    except Exception as e:
        status, detail = (
            "failed",
            str(Fault(f"{raised(e)}{where(e.__traceback__)}", claim.words, "Mend the line.")),
        )
    return Verdict(claim.name, status, detail, time.perf_counter() - before)


def raised(error: BaseException) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def where(trace: TracebackType | None) -> str:
    """` at file.py:12 (forward)`: the deepest line that is neither this package's nor torch's."""
    frames = traceback.extract_tb(trace)
    own = [f for f in frames if not f.filename.startswith(HERE) and "/torch/" not in f.filename]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno} ({own[-1].name})" if own else ""
