"""A buffer that is spread over the ranks, each of which draws from and pushes to a shard of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vaebm_toolkit.core import Buffer, State, ranks
from vaebm_toolkit.errors import RunError, quoted

SHARDS = "shards of ranks"


class Shards(Buffer):
    """This rank's shard of `buffer`; its state is that of all ranks, for checkpoints to hold.

    In one process it is the buffer, and so is its state.
    """

    def __init__(self, buffer: Buffer, run: Path) -> None:
        """run: what messages tell to resume."""
        self.whole, self.run = buffer, run
        self.own = buffer if ranks.world() == 1 else buffer.shard(ranks.rank(), ranks.world())

    def draw(self, fresh: State, step: int, rng: torch.Generator) -> State:
        return self.own.draw(fresh, step, rng)

    def push(self, state: State) -> None:
        self.own.push(state)

    def metrics(self) -> Mapping[str, float]:
        return self.own.metrics()

    def state_dict(self) -> dict[str, Any]:
        """The buffer's own in one process; of several ranks, each of which has to call it, all states."""
        if ranks.world() == 1:
            return self.own.state_dict()
        return {SHARDS: ranks.collected(self.own.state_dict()) or []}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint of any number of ranks. RunError where this buffer cannot be redistributed."""
        states = state[SHARDS] if set(state) == {SHARDS} else [state]
        if len(states) != ranks.world():
            try:
                states = self.whole.redistributed(states, ranks.world())
            except NotImplementedError as e:
                raise RunError(
                    f"The checkpoint is of a training on {count(len(states))}, and cannot be resumed on "
                    f"{count(ranks.world())}: {e}.",
                    f"Resume on as many as before: vaebm run --resume {quoted(self.run)}"
                    + (f" --devices {len(states)}" if len(states) > 1 else ""),
                ) from e
        self.own.load_state_dict(states[ranks.rank()])


def count(n: int) -> str:
    return "one process" if n == 1 else f"{n} processes"
