"""Claims about networks: what holds for energies and generators alike."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.testing.claims import Claims, Fault, Skip, raised, where
from vaebm_toolkit.testing.measure import (
    EQUAL,
    difference,
    no_global_randomness,
    on_a_copy,
    same_bits,
    stirred,
)
from vaebm_toolkit.testing.subject import Shape, Subject

SHAPES: tuple[Shape, ...] = ((2,), (1, 8, 8), (3, 8, 8), (1, 7, 5), (3, 32, 32))
"""Data that a network may be for: vectors, small images grey and in colour, odd sizes, CIFAR-10's."""
DRAWS = 6
"""Networks with other weights, of which one at least has to show a gradient."""
NETWORK = Claims()


class NetworkSubject(Subject):
    """An energy or a generator: built for data of a shape, then called with rows."""

    what: str
    """the call in words, e.g. E(x)"""

    @abstractmethod
    def rows(self, shape: Shape, n: int, *path: str | int) -> Any:
        """n rows of ordinary input: a Tensor, or a State."""

    @abstractmethod
    def output(self, module: Any, rows: Any) -> Tensor:
        """All that the call gives for each row, (B, k)."""

    @functools.cached_property
    def refusals(self) -> dict[Shape, Exception | None]:
        """Shape -> why the part cannot be built for it, or None where it can."""
        found: dict[Shape, Exception | None] = {}
        for shape in SHAPES if self.shape is None else (self.shape,):
            try:
                self.build(shape=shape)
                found[shape] = None
            except Exception as e:
                found[shape] = e
        return found

    @functools.cached_property
    def failures(self) -> dict[Shape, Exception | None]:
        """Shape that it is built for -> why the call fails, or None where it works."""
        found: dict[Shape, Exception | None] = {}
        for shape in (s for s, refusal in self.refusals.items() if refusal is None):
            try:
                self.output(self.module(shape), self.rows(shape, 2))
                found[shape] = None
            except Exception as e:
                found[shape] = e
        return found

    @property
    def tried(self) -> list[Shape]:
        """The smallest vectors and the smallest images that it works with."""
        works = [shape for shape, failure in self.failures.items() if failure is None]
        if not works:
            raise Skip("It works with no data that were tried.")
        return [s for s in works if len(s) == 1][:1] + [s for s in works if len(s) != 1][:1]

    def differentiable(self, module: Any) -> None:
        """Skip where the output is not meant to be differentiated in the input."""

    def module(self, shape: Shape, dtype: torch.dtype = torch.float64, draw: int = 0) -> Any:
        """A network whose weights are not those of a start, in eval mode; another one for another draw."""
        built = self.build(dtype=dtype, start=2 * draw, shape=shape)
        return stirred(built, self.rng("weights", draw)).eval()


def per_shape(check: Callable[[Any, Shape], str | None]) -> Callable[[Any], str | None]:
    """The claim for each shape that is tried; its faults name the shape."""

    @functools.wraps(check)
    def over_shapes(s: NetworkSubject) -> str | None:
        details, skips = [], []
        for shape in s.tried:
            try:
                details.append(check(s, shape))
            except Skip as e:
                skips.append(str(e))
            except Fault as f:
                raise Fault(f"{f.found} (data of shape {shape})", f.expected, f.fix) from f
        if not details:
            raise Skip(skips[0])
        return next((d for d in details if d), None)

    return over_shapes


def take(rows: Any, index: Any) -> Any:
    """Rows of a tensor or of a state."""
    return {k: v[index] for k, v in rows.items()} if isinstance(rows, dict) else rows[index]


def each(rows: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return {k: change(v) for k, v in rows.items()} if isinstance(rows, dict) else change(rows)


@NETWORK.add
def builds(s: NetworkSubject) -> str | None:
    """It is built for data of some shape and refuses other data with a ToolkitError that says what to do."""
    for shape, refusal in s.refusals.items():
        if refusal is not None and not isinstance(refusal, ToolkitError):
            missing = "unexpected keyword" in str(refusal) or "positional argument" in str(refusal)
            raise Fault(
                f"building it for data of shape {shape}: {raised(refusal)}{where(refusal.__traceback__)}",
                "a part, or a ToolkitError",
                "Let the factory take (options, shape), by these names."
                if missing
                else 'Check the shape first: raise vaebm_toolkit.RecipeError("what is wrong", "what to do").',
            )
    if not s.failures:
        refusal = next(iter(s.refusals.values()))
        raise Fault(
            f"it refuses every shape that was tried ({', '.join(map(str, s.refusals))}): {refusal}",
            "one shape that it takes",
            "Name one that it takes: check_…(…, shape=(3, 64, 64)), or --shape 3,64,64.",
        )
    for shape, failure in s.failures.items():
        if isinstance(failure, Fault):
            raise Fault(f"{failure.found} (data of shape {shape})", failure.expected, failure.fix)
        if failure is not None:
            raise Fault(
                f"{s.what} for data of shape {shape}, which it was built for: "
                f"{raised(failure)}{where(failure.__traceback__)}",
                "a result, or a ToolkitError when it is built",
                "Refuse such data in the factory: raise vaebm_toolkit.RecipeError(what, fix).",
            )
    return "data of shape " + ", ".join(map(str, s.failures))


@NETWORK.add
@per_shape
def rows_are_independent(s: NetworkSubject, shape: Shape) -> str | None:
    """What a row gives does not depend on the rows beside it, on how many there are, nor on their order."""
    return independent(s, s.module(shape), shape, "")


@NETWORK.add
@per_shape
def rows_are_independent_in_training(s: NetworkSubject, shape: Shape) -> str | None:
    """The same holds in training mode, except by BatchNorm layers, which evaluation mode switches off."""
    module = s.module(shape).train()
    norms = sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())
    if norms:
        return f"{norms} BatchNorm layers: rows depend on each other in training, by design"
    return independent(s, module, shape, " in training mode")


def independent(s: NetworkSubject, module: nn.Module, shape: Shape, mode: str) -> str:
    rows, n = s.rows(shape, 6), 6

    def output(chosen: Any) -> Tensor:
        return on_a_copy(module, lambda m: s.output(m, chosen))

    alone = output(rows)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    others = each(rows, lambda v: torch.cat([v[:1], v[:1] + 0.3 * (v[1:] - v[:1])]))
    tests = {
        "the other rows change": (output(others)[:1], alone[:1]),
        f"it is in a batch of 2 instead of {n}": (output(take(rows, slice(0, 2))), alone[:2]),
        "it is alone": (output(take(rows, slice(0, 1))), alone[:1]),
        "the rows are permuted": (output(take(rows, order)), alone[order]),
    }
    worst = 0.0
    for words, (found, expected) in tests.items():
        moved = difference(found, expected)
        worst = max(worst, moved)
        if moved > EQUAL:
            raise Fault(
                f"{s.what} of a row changes by {moved:.2g} of its size when {words}{mode}",
                "no change: a chain is the same in a batch of 1 and of 100",
                "Reduce over x.flatten(1) along dim 1, never over the batch (dim 0).",
            )
    return f"largest relative change {worst:.1g}"


@NETWORK.add
@per_shape
def same_input_same_output(s: NetworkSubject, shape: Shape) -> str | None:
    """A second call gives the same, whatever was computed between, and no global generator is touched."""
    module, rows, other = s.module(shape), s.rows(shape, 4), s.rows(shape, 3, "other")
    with no_global_randomness(s.what):
        first = s.output(module, rows)
        s.output(module, other)
        second = s.output(module, rows)
    if difference(first, second) > 0:
        raise Fault(
            f"{s.what} of the same rows differs by {difference(first, second):.2g} from call to call, "
            "in eval mode",
            "one function of its input",
            "Keep nothing from one call to the next in eval mode.",
        )
    module.train()
    with no_global_randomness(f"{s.what} in training mode"):
        s.output(module, rows)
    return None


@NETWORK.add
@per_shape
def input_is_left_alone(s: NetworkSubject, shape: Shape) -> str | None:
    """The input tensors hold the same numbers after the call as before it."""
    module, rows = s.module(shape), s.rows(shape, 4)
    kept = each(rows, torch.clone)
    for mode in (False, True):
        s.output(module.train(mode), rows)
        pairs = zip(rows.values(), kept.values(), strict=True) if isinstance(rows, dict) else [(rows, kept)]
        if not all(same_bits(a, b) for a, b in pairs):
            raise Fault(
                f"{s.what} writes into its input",
                "the input as it was: chains and losses go on with it",
                "Use no in-place operation on the input: F.relu(x) for F.relu_(x), x = x - m for x -= m.",
            )
    return None


@NETWORK.add
@per_shape
def gradients_are_true(s: NetworkSubject, shape: Shape) -> str | None:
    """Autograd's gradient in the input is that of finite differences, and it is not 0 everywhere."""
    module, rows = s.module(shape), s.rows(shape, 12)
    s.differentiable(module)
    names = list(rows) if isinstance(rows, dict) else [""]
    values = [v.detach() for v in (rows.values() if isinstance(rows, dict) else [rows])]
    rng = s.rng("direction")
    k = s.output(module, rows).shape[1]
    weight = torch.randn(k, generator=rng) if k > 1 else torch.ones(1)

    def scalar(tensors: list[Tensor]) -> Tensor:
        given = dict(zip(names, tensors, strict=True)) if isinstance(rows, dict) else tensors[0]
        return s.output(module, given) @ weight

    inputs = [v.clone().requires_grad_() for v in values]
    out = scalar(inputs)
    missing = f"{s.what} is not connected with its input"
    fix = "Keep the input in the graph: no .detach(), .data, .item(), .numpy() or no_grad on the way."
    if not out.requires_grad:
        raise Fault(missing, "a gradient: chains follow it", fix)
    grads = torch.autograd.grad(out.sum(), inputs, allow_unused=True)
    for name, g in zip(names, grads, strict=True):
        if g is None or not g.abs().sum():
            of = f" {name}" if name else ""
            raise Fault(f"{missing}{of}: the gradient is 0", "a gradient: chains follow it", fix)
    worst = 0.0
    for _ in range(2):
        directions = [torch.randn(v.shape, generator=rng) for v in values]
        claimed = sum(
            (g * d).flatten(1).sum(1) for g, d in zip(grads, directions, strict=True) if g is not None
        )
        h = 1e-6
        up, down = (
            scalar([v + sign * h * d for v, d in zip(values, directions, strict=True)]) for sign in (1, -1)
        )
        measured = (up - down).detach() / (2 * h)
        size = measured.abs() + 1e-3 * measured.abs().max() + 1e-6 * out.detach().abs().max() + 1e-12
        # the median: a row may lie on a kink
        worst = max(worst, float(((claimed - measured).abs() / size).median()))
    if worst > 1e-3:
        raise Fault(
            f"autograd's gradient differs from finite differences by {worst:.2g} of its size, in float64",
            "less than 0.001",
            "Look for a detached branch, a custom backward, a rounding, or float32 inside.",
        )
    return f"relative difference {worst:.1g}"


def reaches_every_weight(s: NetworkSubject, shape: Shape, loss: Callable[[Any], Tensor]) -> str:
    """Fault where some weight that can learn gets no gradient from the loss, in training mode.

    A ReLU may be dead for one network's weights: such a weight is looked at again in others.
    """
    dead: dict[str, None] = {}
    for draw in range(DRAWS):
        module = s.module(shape, draw=draw).train()
        weights = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not weights:
            raise Skip("It has no weights that learn.")
        value = loss(module)
        if not value.requires_grad:
            raise Fault("no gradient reaches any weight", "a loss that trains", "Remove no_grad and detach.")
        value.backward()
        still = [name for name, p in weights.items() if p.grad is None or not p.grad.abs().sum()]
        dead = {name: None for name in still if not draw or name in dead}
        if not dead:
            return f"{len(weights)} weights"
    first, *others = dead
    raise Fault(
        f"no gradient reaches {first}" + (f" and {len(others)} more" if others else ""),
        "a gradient in every weight, or requires_grad=False",
        "Use the layer in forward, or remove it.",
    )
