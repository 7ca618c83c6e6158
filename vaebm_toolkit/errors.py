"""Errors meant for people: each says what is wrong and which command comes next."""

from __future__ import annotations


class ToolkitError(Exception):
    """Something the user can mend.

    `message` names the thing that is wrong, `fix` the next command or change.
    The command line prints both, without a traceback, and exits with `exit_code`.
    """

    exit_code = 1

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  {self.fix}" if self.fix else self.message


class RecipeError(ToolkitError):
    """A recipe or a flag names something that does not exist or has a wrong value."""

    exit_code = 2


class DataError(ToolkitError):
    """A data set cannot be read as asked."""


class RunError(ToolkitError):
    """A run directory or checkpoint is missing, incomplete or damaged."""


def quoted(path: object) -> str:
    """A path as it can be pasted into a shell.

    >>> quoted("my runs/1")
    "'my runs/1'"
    """
    import shlex

    return shlex.quote(str(path))


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """A hint naming the closest known word, or the list of all of them.

    >>> nearest("sampelr", ["sampler", "energy"])
    'Did you mean "sampler"?'
    >>> nearest("qqq", ["sampler", "energy"])
    'Known: energy, sampler.'
    """
    import difflib

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f'Did you mean "{close[0]}"?'
    return f"Known: {', '.join(sorted(known))}." if known else "None are installed."
