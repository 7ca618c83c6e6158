"""BibTeX entries of parts. Torch-free."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from importlib.resources import files

from vaebm_toolkit import __version__
from vaebm_toolkit.errors import ToolkitError, nearest
from vaebm_toolkit.registry import Registered

ENTRY = re.compile(r"@\w+\s*\{\s*([^,\s]+)\s*,.*?^\}", flags=re.DOTALL | re.MULTILINE)
TOOLKIT = f"""@software{{vaebm_toolkit,
  title   = {{vaebm\\_toolkit: {{VAE-EBM}} generative models from plugins}},
  version = {{{__version__}}}
}}"""


def bibliography(parts: Iterable[Registered]) -> str:
    """The toolkit's entry, then those of the parts, each once and headed by the parts that it stands for."""
    reasons: dict[str, list[str]] = {TOOLKIT: [f"vaebm_toolkit {__version__}"]}
    for part in parts:
        for entry in cited(part):
            reasons.setdefault(entry, []).append(str(part))
    return "\n\n".join("".join(f"% {r}\n" for r in why) + entry for entry, why in reasons.items())


def cited(part: Registered) -> list[str]:
    """The BibTeX entries of one part; one is made from its package where it names none."""
    c = part.component
    if c.bibtex:
        return entries(c.bibtex, str(part))
    if not c.cite and part.distribution == "vaebm-toolkit":
        return []  # the toolkit's own entry stands for it
    return [made_of(part)]


def entries(bibtex: str, owner: str) -> list[str]:
    """The entries of a BibTeX text, or those of the toolkit's `papers.bib` that its keys name.

    >>> entries("xiao2021vaebm", "a part")[0].splitlines()[0]
    '@inproceedings{xiao2021vaebm,'
    """
    if "@" in bibtex:
        found = [m[0] for m in ENTRY.finditer(bibtex)]
        if not found:
            raise ToolkitError(
                f"{owner}: its bibtex has no whole entry.", "End each with a line that is a closing brace."
            )
        return found
    known = papers()
    keys = [key for key in re.split(r"[,\s]+", bibtex) if key]
    for key in keys:
        if key not in known:
            fix = f"{nearest(key, list(known))} Or give whole BibTeX entries."
            raise ToolkitError(f'{owner}: its bibtex "{key}" is not in papers.bib.', fix)
    return [known[key] for key in keys]


@functools.cache
def papers() -> dict[str, str]:
    """Key -> entry of the toolkit's own collection."""
    text = (files("vaebm_toolkit") / "papers.bib").read_text(encoding="utf-8")
    return {m[1]: m[0] for m in ENTRY.finditer(text)}


def made_of(part: Registered) -> str:
    """An entry for the package, or the single file, that a part without one comes from."""
    package, version = re.sub(r"\W+", "_", part.distribution), part.version
    c = part.component
    lines = [
        f"title   = {{{part.distribution}: {c.summary or f'{c.kind} {c.name}'}}}",
        *([f"version = {{{version}}}"] if version else []),
        *([f"note    = {{{c.cite}}}"] if c.cite else []),
    ]
    return (
        f"@misc{{{package}_{c.kind}_{re.sub(r'[^A-Za-z0-9]+', '_', c.name)},\n  "
        + ",\n  ".join(lines)
        + "\n}"
    )
