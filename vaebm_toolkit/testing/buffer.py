"""Claims about buffers: chain ends come back whole, unchanged, and also after a resume."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.core import Buffer, RowStreams, State
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.testing.claims import Claims, Fault, Skip
from vaebm_toolkit.testing.measure import no_global_randomness, same_bits
from vaebm_toolkit.testing.subject import Shape, Subject

CLAIMS = Claims()
GROUPS: dict[str, Shape] = {"z1": (2,), "z0": (1, 2, 2), "x": (3,)}
ROWS, ROUNDS, LATE = 8, 40, 10_000  # LATE: a step at which a buffer is in full use


class BufferSubject(Subject):
    def fresh(self, round_: int, n: int = ROWS) -> State:
        """Fresh rows, each of whose values is the row's number: negative, so that no stored row has it."""
        number = -(4 / 3 + round_ * ROWS + torch.arange(n))
        return {k: number.view(-1, *[1] * len(s)).expand(n, *s).clone() for k, s in GROUPS.items()}

    def moved(self, drawn: State, round_: int) -> State:
        """What chains make of the rows drawn: new numbers, positive, each of its own."""
        n = len(drawn["x"])
        number = 4 / 3 + round_ * ROWS + torch.arange(n)
        return {k: number.view(-1, *[1] * (v.dim() - 1)).expand_as(v).clone() for k, v in drawn.items()}

    def rounds(self, buffer: Buffer, first: int, last: int, step: int | None = None) -> Iterator[State]:
        """Draws of rounds first, …, last − 1; after each, chain ends are pushed."""
        for r in range(first, last):
            drawn = buffer.draw(self.fresh(r), LATE + r if step is None else step, self.rng("draw", r))
            yield {k: v.clone() for k, v in drawn.items()}
            buffer.push(self.moved(drawn, r))


SUBJECT = BufferSubject


def places(s: BufferSubject) -> list[Any]:
    """Where options are looked at: from the first step on, and late."""
    return [0, LATE]


def fingerprint(s: BufferSubject, table: Mapping[str, Any], first: int) -> Iterator[Any]:
    """What can be observed of a buffer with these options."""
    buffer: Buffer = s.build(table)
    for r in range(ROUNDS):
        drawn = buffer.draw(s.fresh(r), first + 3 * r, s.rng("draw", r))
        yield {k: v.clone() for k, v in drawn.items()}, dict(buffer.metrics())
        buffer.push(s.moved(drawn, r))


def numbers(state: State) -> Tensor:
    """The number of each row, (B,), by its values in the group that every buffer keeps."""
    return next(iter(state.values())).flatten(1)[:, 0]


@CLAIMS.add
def builds(s: BufferSubject) -> str | None:
    """The factory returns a core.Buffer, which holds nothing yet."""
    buffer = s.build()
    if not isinstance(buffer, Buffer):
        raise Fault(f"the factory returns a {type(buffer).__name__}", "a core.Buffer", "class Mine(Buffer).")
    fresh = s.fresh(0)
    drawn = buffer.draw({k: v.clone() for k, v in fresh.items()}, 0, s.rng("draw", 0))
    for name, value in fresh.items():
        if name not in drawn or not same_bits(drawn[name], value):
            raise Fault(
                f'group "{name}" of the first draw is not the fresh one',
                "fresh rows: nothing is stored",
                "See draw.",
            )
    return None


@CLAIMS.add
def draws_keep_the_form(s: BufferSubject) -> str | None:
    """A draw has the groups of `fresh`, in their order, with its shapes and dtype."""
    for dtype in (torch.float32, torch.float64):
        buffer: Buffer = s.build()
        for r in range(6):
            fresh = {k: v.to(dtype) for k, v in s.fresh(r).items()}
            drawn = buffer.draw(fresh, LATE, s.rng("draw", r))
            if list(drawn) != list(fresh):
                raise Fault(
                    f"a draw has the groups {list(drawn)}", f"{list(fresh)}", "Return all groups, in order."
                )
            for name, v in fresh.items():
                if drawn[name].shape != v.shape or drawn[name].dtype != dtype:
                    raise Fault(
                        f'group "{name}" is {tuple(drawn[name].shape)}, {drawn[name].dtype}',
                        f"{tuple(v.shape)}, {dtype}",
                        "Store rows in the dtype in which they come: value.new_empty(…).",
                    )
            buffer.push({k: v + 1 for k, v in drawn.items()})
    return None


@CLAIMS.add
def rows_come_back_whole(s: BufferSubject) -> str | None:
    """Each row drawn is a fresh one or one that was pushed, all its stored groups from the same chain."""
    buffer, pushed, reused = s.build(), set(), 0
    for r, drawn in enumerate(s.rounds(buffer, 0, ROUNDS)):
        for i, number in enumerate(numbers(drawn).tolist()):
            if number < 0:
                if number not in numbers(s.fresh(r)).tolist():
                    raise Fault(
                        "a fresh row of an earlier draw comes back", "rows of this draw's fresh", "See draw."
                    )
                if number != float(numbers(s.fresh(r))[i]):
                    raise Fault(
                        f"fresh row {i} stands in another row",
                        "fresh rows in their own places",
                        "Replace rows, move none.",
                    )
            elif number not in pushed:
                raise Fault(
                    f"a row drawn holds {number:g}, which was never pushed so",
                    "rows as they were pushed, bit for bit",
                    "Store copies: .detach().clone(), and index with one index for all groups.",
                )
            reused += number > 0
            for name, v in drawn.items():
                values = v[i].unique()
                if len(values) != 1 or (float(values) != number and not (name == "x" and float(values) < 0)):
                    raise Fault(
                        f'group "{name}" of a row holds {values.tolist()}, the row\'s first group {number:g}',
                        "all groups of a row from one chain (x may be fresh: it need not be kept)",
                        "Draw one index, and use it for every group.",
                    )
        pushed |= set(numbers(s.moved(drawn, r)).tolist())
    if not reused:
        raise Fault(
            f"in {ROUNDS} rounds no stored row was ever drawn",
            "stored rows, at least late in training",
            "See draw.",
        )
    return f"{reused / (ROUNDS * ROWS):.0%} of the rows were stored ones"


@CLAIMS.add
def stores_copies(s: BufferSubject) -> str | None:
    """Writing into what was pushed, or drawn, changes nothing that is stored."""
    buffer, known = s.build(), set()
    for r in range(ROUNDS):
        for state in (buffer.draw(s.fresh(r), LATE, s.rng("draw", r, i)) for i in range(2)):
            odd = [n for n in numbers(state).tolist() if n > 0 and n not in known]
            if odd:
                raise Fault(
                    f"a stored row holds {odd[0]:g} after what was pushed or drawn was written into",
                    "what was pushed",
                    "Copy in push, and copy in draw: indexing with a tensor does, slices do not.",
                )
            moved = s.moved(state, r)
            for v in state.values():
                v.fill_(1e6)
        buffer.push(moved)
        known |= set(numbers(moved).tolist())
        for v in moved.values():
            v.fill_(1e6)
    return None


@CLAIMS.add
def leaves_no_graph(s: BufferSubject) -> str | None:
    """Rows that are drawn carry no graph, also when those that were pushed did."""
    buffer: Buffer = s.build()
    for r in range(8):
        drawn = buffer.draw(s.fresh(r), LATE, s.rng("draw", r))
        if any(v.requires_grad for v in drawn.values()):
            raise Fault(
                "a drawn row carries a graph",
                "plain tensors: graphs would grow for ever",
                ".detach() in push.",
            )
        buffer.push({k: v.clone().requires_grad_() * 1.0 for k, v in s.moved(drawn, r).items()})
    return None


@CLAIMS.add
def same_stream_same_draws(s: BufferSubject) -> str | None:
    """Draws follow from the pushes and `rng` alone; a stream per row is taken as well."""
    one, two, other = s.build(), s.build(), s.build()
    with no_global_randomness("the buffer"):
        first = list(s.rounds(one, 0, ROUNDS))
    for a, b in zip(first, s.rounds(two, 0, ROUNDS), strict=True):
        if any(not same_bits(a[k], b[k]) for k in a):
            raise Fault(
                "two buffers with the same pushes and streams differ",
                "the same draws",
                "Draw from rng alone.",
            )
    rows = RowStreams([torch.Generator().manual_seed(i) for i in range(ROWS)])
    for r in range(3):
        other.push(s.moved(other.draw(s.fresh(r), LATE, rows), r))
    return None


@CLAIMS.add
def resumes(s: BufferSubject) -> str | None:
    """Loaded into a new buffer, `state_dict` gives the same draws from then on, bit for bit."""
    for stop in (1, 3, ROUNDS // 2):
        buffer, new = s.build(), s.build()
        list(s.rounds(buffer, 0, stop))
        file = io.BytesIO()
        torch.save(buffer.state_dict(), file)
        file.seek(0)
        new.load_state_dict(torch.load(file, weights_only=True))
        for r, (a, b) in enumerate(
            zip(s.rounds(buffer, stop, ROUNDS), s.rounds(new, stop, ROUNDS), strict=True), stop
        ):
            for k in a:
                if not same_bits(a[k], b[k]):
                    raise Fault(
                        f'saved after {stop} rounds and loaded, draw {r} differs in group "{k}"',
                        "the same rows, bit for bit: runs are resumed",
                        "Keep in state_dict all that draw and push look at: counts, places, rows.",
                    )
    return None


@CLAIMS.add
def shards_hold_the_same_chains(s: BufferSubject) -> str | None:
    """Redistributed over another number of ranks, its shards hold the chains of before, each of them once."""
    if type(s.build()).redistributed is Buffer.redistributed:
        raise Skip("It is resumed on as many ranks as it was made on: it has no redistributed().")
    for before, after in ((1, 2), (2, 1), (2, 2)):
        try:
            old = [s.build().shard(rank, before) for rank in range(before)]
            new = [s.build().shard(rank, after) for rank in range(after)]
        except ToolkitError as e:
            raise Skip(f"It is not divided with these options: {e.message}") from e
        for rank, shard in enumerate(old):
            for r in range(3):
                drawn = shard.draw(s.fresh(r), LATE, s.rng("draw", rank, r))
                shard.push(s.moved(drawn, 3 * rank + r))
        states = s.build().redistributed([shard.state_dict() for shard in old], after)
        for shard, state in zip(new, states, strict=True):
            shard.load_state_dict(state)
        held, found = (seen(s, shards) for shards in (old, new))
        if sum(map(len, found)) != len(set().union(*found)):
            raise Fault(
                f"from {before} to {after} ranks, two shards hold the same chain",
                "each chain in one shard",
                "Deal them out: rows[rank::world].",
            )
        differ = set().union(*held) ^ set().union(*found)
        if differ:
            raise Fault(
                f"from {before} to {after} ranks, {len(differ)} chains differ",
                "the chains of before, bit for bit",
                "Put the rows of all states together, whole, and divide those.",
            )
    return None


def seen(s: BufferSubject, shards: list[Buffer]) -> list[set[float]]:
    """The numbers of the rows in each shard, from draws."""
    return [
        {
            n
            for i in range(8 * ROUNDS)
            for n in numbers(shard.draw(s.fresh(i), LATE, s.rng("seen", i))).tolist()
            if n > 0
        }
        for shard in shards
    ]


@CLAIMS.add
def does_not_grow_for_ever(s: BufferSubject) -> str | None:
    """What it stores stays bounded, however long it is used."""

    def stored(buffer: Buffer) -> int:
        file = io.BytesIO()
        torch.save(buffer.state_dict(), file)
        return len(file.getvalue())

    buffer: Buffer = s.build()
    list(s.rounds(buffer, 0, 4 * ROUNDS))
    before = stored(buffer)
    list(s.rounds(buffer, 4 * ROUNDS, 12 * ROUNDS))
    if stored(buffer) > 2 * before:
        capacity = getattr(buffer, "capacity", None)
        if isinstance(capacity, int) and capacity > 4 * ROUNDS * ROWS:
            raise Skip(f"Its capacity of {capacity:,} is more than a test fills: give a small example.")
        raise Fault(
            f"it stores {before:,} bytes after {4 * ROUNDS}, {stored(buffer):,} after {12 * ROUNDS} rounds",
            "a bounded store",
            "Give it a capacity, and overwrite the oldest rows.",
        )
    return None


@CLAIMS.add
def metrics_are_numbers(s: BufferSubject) -> str | None:
    """metrics() are finite numbers by name."""
    buffer: Buffer = s.build()
    list(s.rounds(buffer, 0, 4))
    for name, value in buffer.metrics().items():
        if isinstance(value, Tensor) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise Fault(f'metric "{name}" is {value!r}', "a finite float", "float(…), and no tensor.")
    return ", ".join(buffer.metrics()) or "none"
