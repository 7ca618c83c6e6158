"""A buffer of the newest chain ends (persistent chains: Tieleman, 2008)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.core import Buffer, State, rand

from . import Options


class Newest(Buffer):
    """Each row starts from a stored end with probability `reuse`; the oldest ends make room for new ones."""

    def __init__(self, options: Options) -> None:
        self.capacity, self.reuse = options.capacity, options.reuse
        self.ends: State = {}  # group -> (up to capacity, *group shape), oldest first

    def draw(self, fresh: State, step: int, rng: torch.Generator) -> State:
        if not self.ends:
            return fresh
        first = next(iter(fresh.values()))
        stored = rand(first.shape[:1], rng, like=first) < self.reuse
        index = (rand(first.shape[:1], rng, like=first) * len(self)).long()
        ends = {name: v.to(first.device)[index] for name, v in self.ends.items()}
        return {name: torch.where(rows(stored, v), ends[name], v) for name, v in fresh.items()}

    @torch.no_grad()
    def push(self, state: State) -> None:
        held = {name: self.ends.get(name, v[:0]).to(v.device) for name, v in state.items()}
        self.ends = {name: torch.cat([held[name], v])[-self.capacity :] for name, v in state.items()}

    def __len__(self) -> int:
        return len(next(iter(self.ends.values()), ()))

    def metrics(self) -> Mapping[str, float]:
        return {"stored": len(self) / self.capacity}

    def state_dict(self) -> dict[str, Any]:
        return {"ends": dict(self.ends)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.ends = {name: v[-self.capacity :] for name, v in state["ends"].items()}


def rows(choice: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, …), to choose whole rows of `like`."""
    return choice.view(-1, *[1] * (like.dim() - 1))


def build(options: Options) -> Newest:
    return Newest(options)
