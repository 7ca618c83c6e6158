"""Claims about energies: E(x), low where data are likely."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.core import EnergyFunction, frozen
from vaebm_toolkit.testing.claims import Claims, Fault
from vaebm_toolkit.testing.measure import EQUAL, difference, no_global_randomness, same_bits, stirred
from vaebm_toolkit.testing.networks import NETWORK, NetworkSubject, per_shape, reaches_every_weight
from vaebm_toolkit.testing.storage import STORAGE
from vaebm_toolkit.testing.subject import Shape

ENERGY = Claims()


class EnergySubject(NetworkSubject):
    what = "E(x)"

    def rows(self, shape: Shape, n: int, *path: str | int) -> Tensor:
        """Images: uniform in [0, 1]. Vectors: every other one ten times as far out as the rest."""
        if len(shape) == 3:
            return torch.rand((n, *shape), generator=self.rng("rows", *path))
        x = torch.randn((n, *shape), generator=self.rng("rows", *path))
        x[1::2] *= 10
        return x

    def output(self, module: EnergyFunction, rows: Tensor) -> Tensor:
        energy = module(rows)
        if not isinstance(energy, Tensor) or energy.shape != (len(rows),):
            shape = tuple(energy.shape) if isinstance(energy, Tensor) else type(energy).__name__
            raise Fault(
                f"E(x) of {len(rows)} rows has shape {shape}",
                f"({len(rows)},): one number for each row",
                "End with .flatten(1).sum(1), or .squeeze(1) after a linear layer with one output.",
            )
        return energy[:, None]


@ENERGY.add
def is_an_energy(s: EnergySubject) -> str | None:
    """The factory returns a core.EnergyFunction."""
    found = s.build(shape=s.tried[0])
    if not isinstance(found, EnergyFunction):
        raise Fault(
            f"the factory returns a {type(found).__name__}",
            "a core.EnergyFunction",
            "class Mine(EnergyFunction), from vaebm_toolkit.core.",
        )
    return None


@ENERGY.add
@per_shape
def is_finite_everywhere(s: EnergySubject, shape: Shape) -> str | None:
    """E and its gradient are finite on black, white, noise and constant rows: chains start in such places."""
    module = s.module(shape)
    scale = 1.0 if len(shape) == 3 else 100.0
    flat = torch.ones(shape)
    noise = torch.randn((2, *shape), generator=s.rng("noise"))
    x = torch.stack([0 * flat, scale * flat, -scale * flat, 0.5 * flat, *noise, *(scale * noise)])
    x.requires_grad_()
    energy = module(x)
    (gradient,) = torch.autograd.grad(energy.sum(), x)
    for name, value in (("E", energy), ("its gradient", gradient.flatten(1).sum(1))):
        bad = (~torch.isfinite(value)).nonzero().flatten().tolist()
        if bad:
            row = ["zeros", "its largest values", "its smallest values", "a constant", *["noise"] * 4][bad[0]]
            raise Fault(
                f"{name} is {float(value[bad[0]])} where x is {row}",
                "finite numbers",
                "Keep away from √0, log 0 and x / 0: add a small constant inside.",
            )
    return None


@ENERGY.add
@per_shape
def gradient_reaches_every_weight(s: EnergySubject, shape: Shape) -> str | None:
    """The loss moves each weight that says it can learn."""
    return reaches_every_weight(s, shape, lambda module: module(s.rows(shape, 32)).square().sum())


@ENERGY.add
@per_shape
def is_the_same_while_frozen(s: EnergySubject, shape: Shape) -> str | None:
    """Inside `core.frozen`, where chains run, E is what it is in eval mode."""
    module, x = s.module(shape), s.rows(shape, 6)
    expected = s.output(module, x)
    with frozen(module):
        found = s.output(module, x)
    if difference(found, expected) > EQUAL:
        raise Fault(
            f"E differs by {difference(found, expected):.2g} of its size inside core.frozen",
            "the function of eval mode",
            "normalised_weight() must be what forward computes with; else set holdable = False.",
        )
    return None


@ENERGY.add
@per_shape
def initialise_is_sound(s: EnergySubject, shape: Shape) -> str | None:
    """`initialise(x)` leaves x and the global generators alone, and a finite E."""
    module = s.build(shape=shape).train()
    x = s.rows(shape, 16)
    x[:4] = 0
    kept = x.clone()
    with no_global_randomness("initialise"):
        module.initialise(x)
    if not same_bits(x, kept):
        raise Fault("initialise writes into its data", "the data as they were", "Work on a copy: x.clone().")
    bad = [
        name for name, v in module.state_dict().items() if v.is_floating_point() and not v.isfinite().all()
    ]
    if bad or not torch.isfinite(module.eval()(x)).all():
        raise Fault(
            f"after initialise, {bad[0] if bad else 'E(x)'} is not finite",
            "finite numbers, also where a channel is constant",
            "Divide by std + 1e-5.",
        )
    return None


CLAIMS = Claims([*NETWORK[:1], *ENERGY[:1], *NETWORK[1:], *ENERGY[1:], *STORAGE])


SUBJECT = EnergySubject


def places(s: EnergySubject) -> list[Shape]:
    """Where options are looked at."""
    return s.tried


def fingerprint(s: EnergySubject, table: Mapping[str, Any], shape: Shape) -> Iterator[Any]:
    """What can be observed of an energy with these options, cheapest first."""
    module = s.build(table, shape=shape)
    yield module.state_dict()
    x = s.rows(shape, 6)
    module.train().initialise(x)
    yield module.state_dict()
    stirred(module, s.rng("weights"))
    for train in (True, True, False, False):
        yield module.train(train)(x)
    with frozen(module):
        yield module(x)
    yield module.state_dict()
