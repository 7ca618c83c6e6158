"""Claims about a sampler's steps: new states from old ones, and nothing else touched."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vaebm_toolkit.core import LogDensity, Sampler, State, run_chain, square_norm
from vaebm_toolkit.testing.claims import Claims, Fault, Skip
from vaebm_toolkit.testing.measure import (
    EQUAL,
    difference,
    no_global_randomness,
    rows_of_streams,
    states_differ,
)
from vaebm_toolkit.testing.subject import Shape, Subject

KERNEL = Claims()
STEPS, ROWS = 6, 6
SPACES = ("latent", "data", "joint")
RNG = "Draw with core.randn_like(v, rng), core.randn(shape, rng, like=v) or core.rand(shape, rng)."


def groups_of(sampler: Sampler) -> dict[str, Shape]:
    """Groups of a state in the sampler's space; their order is not that of the alphabet."""
    return {"x": (1, 2, 2)} if sampler.space == "data" else {"z1": (2,), "z0": (1, 2, 2), "x": (3,)}


class SamplerSubject(Subject):
    @functools.cached_property
    def sampler(self) -> Sampler:
        built: Sampler = self.build(bounds=None)
        return built

    @property
    def groups(self) -> dict[str, Shape]:
        return groups_of(self.sampler)

    def start(self, precision: float, n: int = ROWS, *path: str) -> State:
        """Rows about as far out as a density of this precision is wide."""
        rng = self.rng("start", *path)
        return {k: torch.randn((n, *s), generator=rng) / precision**0.5 for k, s in self.groups.items()}

    def chain(self, start: State, density: LogDensity, rng: torch.Generator, steps: int = STEPS) -> State:
        """A chain from a copy of `start`, so that one that writes into it spoils no other test."""
        return run_chain(self.sampler, {k: v.clone() for k, v in start.items()}, density, rng, steps)

    @functools.cached_property
    def pace(self) -> float:
        """The precision of a density that the sampler crosses in some ten steps; Skip where there is none."""
        best, pace = 0.0, None
        for precision in (10.0**k for k in range(-4, 11)):
            start = self.start(precision, 32)
            end = self.chain(start, Hills(precision, self.groups), self.rng("pace"), 4)
            moved = square_norm({k: (end[k] - start[k]) * precision**0.5 for k in start}).mean() ** 0.5
            if torch.isfinite(moved) and best < moved < 3 * sum(v[0].numel() for v in start.values()) ** 0.5:
                best, pace = float(moved), precision
        if pace is None:
            raise Skip("It does not move: see `moves`.")
        return pace

    @property
    def hills(self) -> Hills:
        return Hills(self.pace, self.groups)


class Hills(nn.Module):
    """log density −λ/2 (‖v‖² + ½ m²), m the mean over all of a row's values, which ties its groups together.

    λ is a weight, as those of an energy are. It takes positions only.
    """

    def __init__(self, precision: float, groups: Mapping[str, Shape]) -> None:
        super().__init__()
        self.precision, self.groups = nn.Parameter(torch.tensor(precision)), dict(groups)

    def forward(self, state: State) -> Tensor:
        if list(state) != list(self.groups):
            raise Fault(
                f"it calls the log density with {list(state)} where the groups are {list(self.groups)}",
                "the groups of the start, in their order",
                "Leave out what you keep beside them: log_density(self.position(state)).",
            )
        mean = torch.cat([v.flatten(1) for v in state.values()], 1).mean(1)
        return -self.precision.to(mean) / 2 * (square_norm(state) + 0.5 * mean.square())


@KERNEL.add
def builds(s: SamplerSubject) -> str | None:
    """It is built with and without bounds, and says in which space it works and for how many steps."""
    for bounds in (None, (0.0, 1.0)):
        try:
            found = s.build(bounds=bounds)
        except TypeError as e:
            raise Fault(
                f"building it with bounds={bounds}: {e}", "a core.Sampler", "Take (options, bounds)."
            ) from e
        if not isinstance(found, Sampler):
            raise Fault(
                f"the factory returns a {type(found).__name__}",
                "a core.Sampler",
                "class Mine(Sampler), from vaebm_toolkit.core.",
            )
        if found.space not in SPACES:
            raise Fault(f"its space is {found.space!r}", f"one of {', '.join(SPACES)}", 'space = "latent"')
        if not isinstance(found.steps, int) or found.steps < 0:
            raise Fault(
                f"its steps are {found.steps!r}", "a whole number, 0 or more", "self.steps = options.steps"
            )
        if found.bounds not in (None, bounds):
            raise Fault(
                f"built with bounds={bounds}, it says {found.bounds}",
                f"None or {bounds}",
                "Keep what it got.",
            )
    return f"{s.sampler.space} space, {s.sampler.steps} steps"


@KERNEL.add
def moves(s: SamplerSubject) -> str | None:
    """There is a density that it crosses: within a few steps every value of every group has changed."""
    try:
        start = s.start(s.pace, 64)
    except Skip:
        raise Fault(
            "chains stay where they start, or leave all bounds, on Gaussians of any width",
            "moves",
            "v + (η/2) · score + √η · noise",
        ) from None
    end = s.chain(start, s.hills, s.rng("moves"), 3 * STEPS)
    for name in start:
        if (end[name] == start[name]).flatten(1).all(0).any():
            raise Fault(
                f'values of group "{name}" never change', "all groups move", "for every group of the state"
            )
    return f"best on a Gaussian of precision {s.pace:.2g}"


@KERNEL.add
def positions_keep_their_form(s: SamplerSubject) -> str | None:
    """Positions have the groups of the start in their order, with their shapes, float32 or float64."""
    for dtype in (torch.float64, torch.float32):
        start = {k: v.to(dtype) for k, v in s.start(s.pace).items()}
        first = s.sampler.init(start)
        second, _ = s.sampler.step(first, s.hills, s.rng("form"))
        for state in (first, second):
            position = s.sampler.position(state)
            if list(position) != list(start):
                raise Fault(
                    f"the groups of a position are {list(position)}",
                    f"{list(start)}, in this order",
                    "Build the new state with {k: … for k in position}.",
                )
            for name, v in state.items():
                like = start.get(name)
                if like is not None and (v.shape, v.dtype) != (like.shape, like.dtype):
                    raise Fault(
                        f'group "{name}", {tuple(like.shape)} in {dtype}, becomes {tuple(v.shape)} '
                        f"in {v.dtype}",
                        "the same shape and dtype",
                        "Make noise with core.randn_like(v, rng), and constants as Python numbers.",
                    )
                if v.dim() == 0 or len(v) != ROWS:
                    raise Fault(
                        f'"{name}" in the state has shape {tuple(v.shape)}',
                        f"one row per chain, ({ROWS}, …)",
                        "Keep what adapts for each row: torch.full_like(v.flatten(1)[:, 0], …).",
                    )
    return None


@KERNEL.add
def old_states_stay(s: SamplerSubject) -> str | None:
    """`init` and `step` return new states and write into none that they are given."""
    state = s.start(s.pace)
    kept = {k: v.clone() for k, v in state.items()}
    following = s.sampler.init(state)
    rng = s.rng("old")
    for k in range(3):
        held = {k: v.clone() for k, v in following.items()}
        after, _ = s.sampler.step(following, s.hills, rng)
        name = states_differ(held, following) or states_differ(kept, state)
        if name is not None:
            raise Fault(
                f'step {k} writes into "{name}" of the state that it is given',
                "a new state, the old one as it was",
                "v + …, and not v += … or torch._foreach_add_ on the state's own tensors.",
            )
        following = after
    return None


@KERNEL.add
def same_stream_same_chain(s: SamplerSubject) -> str | None:
    """The stream alone decides: the same one gives the same chain, another one another."""
    start = s.start(s.pace)
    with no_global_randomness("a step"):
        first = s.chain(start, s.hills, s.rng("a"))
    # of as many rows, on another density: a kernel may drop what it kept of a batch of another size
    s.chain(s.start(3 * s.pace, ROWS, "other"), Hills(3 * s.pace, s.groups), s.rng("c"))
    if states_differ(first, s.chain(start, s.hills, s.rng("a"))):
        raise Fault(
            "a second chain with the same start and stream is another",
            "the same, bit for bit",
            "Keep nothing in the sampler from chain to chain: what a kernel remembers lives in the state.",
        )
    if not states_differ(first, s.chain(start, s.hills, s.rng("b"))):
        raise Fault("chains with different streams are the same", "randomness from `rng`", RNG)
    return None


@KERNEL.add
def every_value_has_noise_of_its_own(s: SamplerSubject) -> str | None:
    """From one common start, no two rows and no two values of a row go the same way."""
    start = {k: torch.full((ROWS, *shape), 0.5 / s.pace**0.5) for k, shape in s.groups.items()}
    end = s.chain(start, Hills(s.pace, s.groups), s.rng("own"), 2 * STEPS)
    flat = torch.cat([v.flatten(1) for v in end.values()], 1)
    moved = (flat - 0.5 / s.pace**0.5).abs() * s.pace**0.5 > 1e-9
    for words, a, b in (
        ("two rows", flat[:, None], flat[None]),
        ("two values of a row", flat[:, :, None], flat[:, None, :]),
    ):
        equal = (a - b).abs() * s.pace**0.5 < 1e-12
        if words == "two rows":
            same = (equal.all(2) & moved.any(1)[None]).fill_diagonal_(False).any()
        else:
            same = (equal & moved[:, :, None] & ~torch.eye(flat.shape[1], dtype=torch.bool)).any()
        if same:
            raise Fault(f"{words} get the same noise", "noise of its own for each value", RNG)
    return None


@KERNEL.add
def rows_are_independent(s: SamplerSubject) -> str | None:
    """With core.RowStreams a chain is the same alone, in a batch, and whatever the other chains do."""
    start = s.start(s.pace)
    whole = s.chain(start, s.hills, rows_of_streams(ROWS))
    worst = 0.0
    for first, n in ((0, 1), (3, 1), (2, 3)):
        rows = slice(first, first + n)
        part = s.chain({k: v[rows] for k, v in start.items()}, s.hills, rows_of_streams(n, first=first))
        moved = max(difference(part[k], whole[k][rows]) for k in whole)
        worst = max(worst, moved)
        if moved > EQUAL:
            raise Fault(
                f"in a batch of {n} instead of {ROWS} a chain ends {moved:.2g} of its size elsewhere",
                "the same end: sample 17 is the same picture in any batch",
                f"{RNG} Scale no gradient by the batch, and adapt each row by itself.",
            )
    others = {k: torch.cat([v[:1], 2 * v[1:]]) for k, v in start.items()}
    beside = s.chain(others, s.hills, rows_of_streams(ROWS))
    moved = max(difference(beside[k][:1], whole[k][:1]) for k in whole)
    if moved > EQUAL:
        raise Fault(
            f"a chain ends {moved:.2g} of its size elsewhere when the others start elsewhere",
            "the same end",
            "Accept, adapt and scale row by row.",
        )
    return f"largest relative change {worst:.1g}"


@KERNEL.add
def leaves_no_graph_and_no_gradients(s: SamplerSubject) -> str | None:
    """States and diagnostics carry no graph, and the density's weights get no gradient."""
    density = s.hills
    state, rng = s.sampler.init(s.start(s.pace)), s.rng("graph")
    for _ in range(2):
        state, diagnostics = s.sampler.step(state, density, rng)
        for name, v in {**state, **diagnostics}.items():
            if isinstance(v, Tensor) and v.requires_grad:
                raise Fault(
                    f'"{name}" carries a graph after a step',
                    "detached tensors: a graph grows with every step",
                    "core.value_and_grad, or .detach().",
                )
    weight = density.precision
    if weight.grad is not None or not weight.requires_grad:
        raise Fault(
            "the density's weights have a gradient after a chain, or can no longer learn",
            "weights that nothing has touched",
            "Differentiate in the state alone: core.value_and_grad(log_density, state), not .backward().",
        )
    return None


@KERNEL.add
def diagnostics_are_numbers_on_the_device(s: SamplerSubject) -> str | None:
    """Diagnostics are finite 0-d tensors by name: nothing waits for the device."""
    _, diagnostics = s.sampler.step(s.sampler.init(s.start(s.pace)), s.hills, s.rng("diagnostics"))
    for name, v in diagnostics.items():
        if not isinstance(v, Tensor) or v.dim():
            shape = (
                f"a tensor of shape {tuple(v.shape)}" if isinstance(v, Tensor) else f"a {type(v).__name__}"
            )
            raise Fault(
                f'diagnostic "{name}" is {shape}', "a 0-d tensor", "log_prob.mean(), without .item()."
            )
        if not torch.isfinite(v):
            raise Fault(f'diagnostic "{name}" is {float(v)}', "a finite number", "Look at its formula.")
    return ", ".join(diagnostics) or None


@KERNEL.add
def stays_within_bounds(s: SamplerSubject) -> str | None:
    """A sampler of data that keeps the bounds it is given never leaves them."""
    bounded: Sampler = s.build(bounds=(0.0, 1.0))
    if bounded.space != "data" or bounded.bounds is None:
        raise Skip("It keeps no bounds, or leaves them to the density.")
    rng = s.rng("bounds")
    start = {k: torch.rand((64, *shape), generator=rng) for k, shape in s.groups.items()}
    for pull in (-1.0, 1.0):
        for strength in (1.0, 1e2, 1e4):

            def density(state: State, pull: float = pull * strength) -> Tensor:
                return pull * sum(v.flatten(1).sum(1) for v in state.values())

            end = run_chain(bounded, start, density, rng, STEPS)
            low, high = (float(f(v)) for f, v in ((torch.min, end["x"]), (torch.max, end["x"])))
            if not (low >= 0 and high <= 1):
                raise Fault(
                    f"with bounds (0, 1) a chain has values from {low:.3g} to {high:.3g}",
                    "values in [0, 1]",
                    "Project at the end of each step: v.clamp(*self.bounds); or leave self.bounds None.",
                )
    return "(0, 1)"
