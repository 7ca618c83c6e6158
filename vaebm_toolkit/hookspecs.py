"""The whole plugin contract. A plugin is an entry point in the group `vaebm_toolkit`.

Its module may say `vaebm_api = 1`: the contract it is written for. One that says nothing is taken for 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

if TYPE_CHECKING:
    import click

GROUP = "vaebm_toolkit"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)
"""Marks a function of the entry module as the implementation of the hook whose name it has."""

API = 1
"""The contract of this version: hooks, `Component`, the classes of `vaebm_toolkit.core`."""
OLDEST_API = 1
"""The oldest contract that plugins may still be written for."""
KINDS = (
    "generator",
    "energy",
    "sampler",
    "buffer",
    "trainer",
    "dataset",
    "metric",
    "features",
    "importer",
)


@attrs.frozen(kw_only=True)
class Component:
    """A part that users can name. Data only: nothing is imported until it is built.

    kind     one of generator, energy, sampler, buffer, trainer, dataset, metric, features, importer
    name     what users type, e.g. `latent-ld`
    factory  "package.module:callable", imported when the part is built
    options  an attrs class whose fields are made by `opt` and `slot`
    summary  one line for `vaebm plugins list`
    cite     where it comes from, e.g. "Xiao et al., VAEBM, ICLR 2021, eq. 7"
    bibtex   BibTeX entries for `vaebm cite`, or keys of the toolkit's own `papers.bib`, e.g. "xiao2021vaebm"
    recipe   for a dataset: the recipe `vaebm run --dataset NAME` starts from
    example  options with which the part is small and quick, for `vaebm plugins check`
    """

    kind: str
    name: str
    factory: str
    options: type | None = None
    summary: str = ""
    cite: str = ""
    bibtex: str = ""
    recipe: str = ""
    example: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@hookspec
def vaebm_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Once, when plugins are discovered: the parts this plugin offers."""


@hookspec
def vaebm_commands(cli: click.Group) -> None:
    """Once, when the command line starts: add click commands to `cli`."""


@hookspec
def vaebm_step_end(run: Any, step: int, metrics: Mapping[str, float]) -> str | None:
    """After a logged step: record it. A returned text stops the stage and is its reason."""
