"""An energy that is low inside a box: the entry module declares, and imports no torch."""

from vaebm_toolkit import Component, frozen, gt, hookimpl, opt


@frozen
class BoxOptions:
    side: float = opt(8.0, "length of the box's sides, centred at 0", check=gt(0))
    stiffness: float = opt(1.0, "initial slope² of the walls; learned", check=gt(0))


@hookimpl
def vaebm_components() -> list[Component]:
    return [
        Component(
            kind="energy",
            name="box",
            factory="vaebm_box.energy:build",
            options=BoxOptions,
            summary="learned soft walls of a box",
        )
    ]
