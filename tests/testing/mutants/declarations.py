"""Declarations that are wrong in one way each; the part behind them is healthy. Torch-free."""

from __future__ import annotations

from vaebm_toolkit import Check, Component, between, frozen, ge, opt, slot


@frozen
class DefaultOutOfRange:
    width: int = opt(8, "hidden units", check=between(16, 512))


@frozen
class DefaultOfAnotherType:
    width: int = opt(8.0, "hidden units", check=ge(1))


@frozen
class NoHelp:
    width: int = opt(8, "", check=ge(1))


@frozen
class CheckCrashes:
    width: int = opt(8, "hidden units", check=Check("a power of 2", lambda v: 8 / v == 1 or 16 / v > 0))


@frozen
class Undeclared:
    width: int = 8


@frozen
class CalledName:
    width: int = opt(8, "hidden units", check=ge(1))
    name: str = opt("silu", "activation")


@frozen
class Steps:
    """A key that every trainer's table has already."""

    generator: str = slot("generator", "mlp")
    energy: str = slot("energy", "mlp")
    sampler: str = slot("sampler", "latent-ld")
    buffer: str = slot("buffer", "replay", optional=True)
    lr: float = opt(1e-3, "learning rate", check=between(1e-6, 1))
    steps: int = opt(10, "chain steps", check=ge(1))


@frozen
class UnknownSlot:
    width: int = opt(8, "hidden units", check=ge(1))
    net: str = slot("network", "unet")


@frozen
class MissingSlot:
    width: int = opt(8, "hidden units", check=ge(1))
    energy: str = slot("energy", "of-another-package")


@frozen
class ZeroCrashes:
    """0 is allowed and cannot be built."""

    width: int = opt(8, "hidden units", check=ge(0))


def part(**changes) -> Component:
    declared = {
        "kind": "energy", "name": "mutant", "factory": "mutants.energies:Healthy",
        "options": DefaultOutOfRange, "summary": "wrong in one way",
    }  # fmt: skip
    return Component(**{**declared, **changes})


IMPORT, RANGE = "imports lightly", "defaults and example are allowed"
DECLARED, OPTIONS, SLOTS = "declares itself", "options are declared", "slots can be filled"
DECLARATIONS: dict[str, tuple[Component, str, str]] = {
    "name with spaces": (part(name="My Energy", options=None), DECLARED, 'its name is "My Energy"'),
    "called none": (part(name="none", options=None), DECLARED, "lower-case letters"),
    "no summary": (part(summary="", options=None), DECLARED, "it has no summary"),
    "unknown recipe": (part(kind="dataset", recipe="mine", options=None), DECLARED, 'recipe "mine"'),
    "unknown paper": (part(bibtex="me2026", options=None), "says where it comes from", '"me2026" is not in'),
    "no such factory": (part(factory="mutants.energies:Absent"), "factory is found", "Absent"),
    "default out of range": (part(options=DefaultOutOfRange), RANGE, 'default of option "width" is refused'),
    "default of another type": (part(options=DefaultOfAnotherType), RANGE, "not a whole number"),
    "unknown example": (part(options=NoHelp, example={"widht": 4}), RANGE, "its example is refused"),
    "no help": (part(options=NoHelp), OPTIONS, 'option "width" has no help'),
    "undeclared field": (part(options=Undeclared), OPTIONS, "neither opt(…) nor slot(…)"),
    "option called name": (part(options=CalledName), OPTIONS, "already a key of every [energy] table"),
    "check that crashes": (part(options=CheckCrashes), "wrong values are refused", "ZeroDivisionError"),
    "steps of a trainer": (
        part(kind="trainer", factory="mutants.trainers:Healthy", options=Steps),
        OPTIONS,
        "already a key of every [trainer] table",
    ),
    "slot of no kind": (part(options=UnknownSlot), SLOTS, 'asks for a "network"'),
    "slot that is not installed": (part(options=MissingSlot), SLOTS, "which is not installed"),
}
