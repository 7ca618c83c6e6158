"""Replay: preallocated tensors on the chain's device, index in and index out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import evolve

from vaebm_replay.options import ReplayOptions
from vaebm_toolkit import RecipeError, RunError
from vaebm_toolkit.core import Buffer, State


class ReplayBuffer(Buffer):
    """A ring of chain ends (VAEBM, section 5.2).

    `draw`: n ~ Binomial(B, p) distinct stored chains fill the first n rows, p = reuse · step /
    anneal_steps up to reuse; the other rows stay fresh. `push`: the first n rows return to their
    slots, the rest overwrite the oldest ones ("write-back"), or all rows do ("fifo").

    Counts live on the host and chains on the chain's device, so nothing waits for the device.
    """

    def __init__(self, options: ReplayOptions) -> None:
        self.options, self.capacity = options, options.capacity
        self.chains: State = {}  # group -> (capacity, *group shape), allocated by the first push
        self.fill = 0  # rows of `chains` in use
        self.head = 0  # where the next chain end is appended
        self.slots = torch.empty(0, dtype=torch.int64)  # (n,) where the first n rows of the last draw live
        self.reused = 0.0  # n / B of the last draw

    def draw(self, fresh: State, step: int, rng: torch.Generator) -> State:
        host = host_stream(rng)
        size = len(next(iter(fresh.values())))
        p = self.options.probability(step)
        n = min(int((torch.rand(size, generator=host) < p).sum()), self.fill)
        self.slots = torch.randperm(self.fill, generator=host)[:n]
        self.reused = n / size
        if n == 0:
            return fresh
        self.allocate(fresh)
        drawn = dict(fresh)
        for name, chains in self.chains.items():
            index = self.slots.to(chains.device, non_blocking=True)
            drawn[name] = torch.cat([chains[index], fresh[name][n:]])
        return drawn

    @torch.no_grad()
    def push(self, state: State) -> None:
        self.allocate(state)
        n = len(self.slots) if self.options.mode == "write-back" else 0
        appended = len(next(iter(state.values()))) - n
        skipped = max(appended - self.capacity, 0)  # a batch larger than the ring keeps its last rows
        ring = torch.arange(self.head + skipped, self.head + appended) % self.capacity
        for name, chains in self.chains.items():
            # Two writes: an appended row may take the slot of a chain that was just continued.
            if n:
                chains.index_copy_(0, self.slots.to(chains.device, non_blocking=True), state[name][:n])
            chains.index_copy_(0, ring.to(chains.device, non_blocking=True), state[name][n + skipped :])
        self.head = (self.head + appended) % self.capacity
        self.fill = min(self.fill + appended, self.capacity)
        self.slots = self.slots[:0]

    def allocate(self, state: State) -> None:
        """Room for `capacity` chains like those of `state`, on its device; stored rows move along."""
        for name in self.kept(state):
            value, held = state[name], self.chains.get(name)
            if held is None and self.fill:
                raise RunError(f"The replay buffer holds no group {name!r}.", "Start the energy stage anew.")
            if held is not None and held.shape[1:] != value.shape[1:]:
                raise RunError(
                    f"The replay buffer holds chains of shape {tuple(held.shape[1:])} for group {name!r}, "
                    f"this generator's have {tuple(value.shape[1:])}.",
                    "Resume with the generator the run was started with, or start the energy stage anew.",
                )
            if held is None or held.device != value.device or len(held) != self.capacity:
                self.chains[name] = value.new_empty((self.capacity, *value.shape[1:]))
                if held is not None:
                    self.chains[name][: self.fill] = held[: self.fill]

    def kept(self, state: State) -> list[str]:
        """Groups that are stored. A data-space state has nothing but "x", which is always kept."""
        latent = [name for name in state if name != "x"]
        return latent if latent and self.options.keep == "z" else list(state)

    def metrics(self) -> Mapping[str, float]:
        """reused: share of the last batch that continued stored chains; fill: share of the ring in use."""
        return {"reused": self.reused, "fill": self.fill / self.capacity}

    def state_dict(self) -> dict[str, Any]:
        return {
            "capacity": self.capacity,
            "fill": self.fill,
            "head": self.head,
            "reused": self.reused,
            "slots": self.slots.tolist(),
            "chains": {name: v[: self.fill] for name, v in self.chains.items()} if self.fill else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["capacity"] != self.capacity:
            raise RunError(
                f"The checkpoint's replay buffer holds {state['capacity']} chains, "
                f"the recipe asks for {self.capacity}.",
                f"Resume with --buffer.capacity {state['capacity']}.",
            )
        self.fill, self.head, self.reused = state["fill"], state["head"], state["reused"]
        self.slots = torch.tensor(state["slots"], dtype=torch.int64)
        chains = state["chains"] or {}  # moved to the chain's device by the next draw or push
        self.chains = {name: chains[name].clone() for name in self.kept(chains)}

    def shard(self, rank: int, world: int) -> ReplayBuffer:
        """A ring of capacity / world chains."""
        if self.capacity % world:
            below = self.capacity // world * world
            raise RecipeError(
                f"buffer.capacity: {self.capacity} chains cannot be shared evenly by {world} processes.",
                f"Choose --buffer.capacity {max(below, world)}, or another number of --devices.",
            )
        return ReplayBuffer(evolve(self.options, capacity=self.capacity // world))

    def redistributed(self, states: Sequence[Mapping[str, Any]], world: int) -> list[dict[str, Any]]:
        """The shards' chains, oldest first, dealt out one by one to `world` rings."""
        held = [self.aged(state) for state in states if state["fill"]]
        size = sum(state["capacity"] for state in states) // world
        ages = torch.cat([torch.arange(state["fill"], 0, -1) for state in states])
        order = torch.argsort(ages, descending=True, stable=True)
        reused = sum(state["reused"] for state in states) / len(states)
        names = list(held[0]) if held else []
        chains = {name: torch.cat([part[name] for part in held])[order] for name in names}
        return [
            {
                "capacity": size,
                "fill": len(order[rank::world]),
                "head": len(order[rank::world]) % size,
                "reused": reused,
                "slots": [],
                "chains": {name: v[rank::world].contiguous() for name, v in chains.items()}
                if len(order[rank::world])
                else None,
            }
            for rank in range(world)
        ]

    @staticmethod
    def aged(state: Mapping[str, Any]) -> State:
        """A ring's chains, oldest first."""
        oldest = state["head"] if state["fill"] == state["capacity"] else 0
        return {name: v.roll(-oldest, 0) for name, v in state["chains"].items()}


def host_stream(rng: torch.Generator) -> torch.Generator:
    """`rng`, or a host generator that follows from it without waiting for its device.

    The state of a device generator (seed and offset) is known to the host; one number is
    drawn on the device so that the next call follows from another state.
    """
    if rng.device.type == "cpu":
        return rng
    digest = hashlib.sha256(rng.get_state().numpy().tobytes()).digest()
    torch.rand((), generator=rng, device=rng.device)
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def build(options: ReplayOptions) -> ReplayBuffer:
    """The buffer; its memory is allocated by the first push."""
    return ReplayBuffer(options)
