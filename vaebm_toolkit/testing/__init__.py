"""Contract tests for parts: what this toolkit relies on, measured, with the usual fix where it fails.

    from vaebm_toolkit.testing import check_energy

    def test_contract():
        check_energy("mine")

A part is given by its name in the installed registry, or as a `Component` or `Registered`. The options
are those of `Component.example`, with `options` on top; `shape` narrows the data it is tried on.
Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vaebm_toolkit.hookspecs import Component
from vaebm_toolkit.registry import Registered
from vaebm_toolkit.testing.claims import ContractError, Verdict

__all__ = [
    "ContractError",
    "Verdict",
    "check_buffer",
    "check_component",
    "check_dataset",
    "check_energy",
    "check_features",
    "check_generator",
    "check_logger",
    "check_metric",
    "check_sampler",
    "check_trainer",
    "examine",
]

Part = str | Component | Registered
Shape = tuple[int, ...]
Options = Mapping[str, Any]


def examine(
    registered: Registered, *, shape: Shape | None = None, options: Options | None = None, seed: int = 0
) -> list[Verdict]:
    """A verdict on every claim about the part: those of all parts, and those of its kind."""
    from vaebm_toolkit.testing.checking import verdicts

    return verdicts(registered, shape=shape, options=options, seed=seed)


def check_component(
    part: Part, *, kind: str | None = None, options: Options | None = None, seed: int = 0
) -> None:
    """What holds for a part of any kind: its declaration, its options, its import."""
    from vaebm_toolkit.testing.checking import check

    check(part, kind, options=options, seed=seed, component_only=True)


def check_energy(
    part: Part, *, shape: Shape | None = None, options: Options | None = None, seed: int = 0
) -> None:
    """E(x), (B,): row by row, differentiable, reproducible; and what holds for every part."""
    from vaebm_toolkit.testing.checking import check

    check(part, "energy", shape=shape, options=options, seed=seed)


def check_generator(
    part: Part, *, shape: Shape | None = None, options: Options | None = None, seed: int = 0
) -> None:
    """x = T(ε), its log-determinant and its inverse; of an autoencoder, its bounds as well."""
    from vaebm_toolkit.testing.checking import check

    check(part, "generator", shape=shape, options=options, seed=seed)


def check_sampler(part: Part, *, options: Options | None = None, seed: int = 0) -> None:
    """A kernel for any density, row by row; its stationary law and reversibility as it claims them."""
    from vaebm_toolkit.testing.checking import check

    check(part, "sampler", options=options, seed=seed)


def check_buffer(part: Part, *, options: Options | None = None, seed: int = 0) -> None:
    """Stored rows come back whole, unchanged and in order, also after a resume."""
    from vaebm_toolkit.testing.checking import check

    check(part, "buffer", options=options, seed=seed)


def check_trainer(
    part: Part, *, shape: Shape | None = None, options: Options | None = None, seed: int = 0
) -> None:
    """Each loss moves its own player, and a resumed stage is the same bit for bit."""
    from vaebm_toolkit.testing.checking import check

    check(part, "trainer", shape=shape, options=options, seed=seed)


def check_dataset(part: Part, *, options: Options | None = None, seed: int = 0) -> None:
    """Splits give what `shape` and `bounds` say, example by example, and differ from each other."""
    from vaebm_toolkit.testing.checking import check

    check(part, "dataset", options=options, seed=seed)


def check_metric(
    part: Part, *, shape: Shape | None = None, options: Options | None = None, seed: int = 0
) -> None:
    """Figures are finite, reproducible, independent of batches, and tell data from noise."""
    from vaebm_toolkit.testing.checking import check

    check(part, "metric", shape=shape, options=options, seed=seed)


def check_features(
    part: Part, *, shape: Shape | None = None, options: Options | None = None, seed: int = 0
) -> None:
    """Features of a row do not depend on other rows, nor on when they are asked for."""
    from vaebm_toolkit.testing.checking import check

    check(part, "features", shape=shape, options=options, seed=seed)


def check_logger(plugin: str) -> None:
    """The hook `vaebm_step_end` of the plugin of this name: called in both stages, and after a break."""
    from vaebm_toolkit.testing.logger import check

    check(plugin)
