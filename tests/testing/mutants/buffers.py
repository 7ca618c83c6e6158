"""Buffers that are wrong in one way each."""

from __future__ import annotations

import torch

from vaebm_toolkit.core import Buffer


class Healthy(Buffer):
    """A list of the last `capacity` chain ends; half of the rows of a draw come from it."""

    def __init__(self, options):
        self.capacity = options.capacity
        self.rows = {}

    def draw(self, fresh, step, rng):
        held = len(self.rows["x"]) if self.rows else 0
        n = len(fresh["x"])
        if not held:
            return fresh
        use = torch.rand(n, generator=rng) < 0.5
        index = torch.randint(held, (n,), generator=rng)
        return {k: self.mixed(use, self.rows[k], index, v) for k, v in fresh.items()}

    def mixed(self, use, stored, index, fresh):
        return torch.where(use.view(-1, *[1] * (fresh.dim() - 1)), stored[index], fresh)

    def push(self, state):
        for k, v in state.items():
            new = self.kept(v)
            self.rows[k] = torch.cat([self.rows[k], new])[-self.capacity :] if k in self.rows else new

    def kept(self, value):
        return value.detach().clone()

    def state_dict(self):
        return {"rows": dict(self.rows)}

    def load_state_dict(self, state):
        self.rows = dict(state["rows"])


class References(Healthy):
    """The first rows are kept as they are given."""

    def kept(self, value):
        return value.detach()


class Graphs(Healthy):
    def kept(self, value):
        return value * 1.0


class DrawsViews(Healthy):
    def draw(self, fresh, step, rng):
        n = len(fresh["x"])
        if not self.rows or len(self.rows["x"]) < n or step == 0:
            return fresh
        return {k: self.rows[k][-n:] for k in fresh}


class IndexPerGroup(Healthy):
    def draw(self, fresh, step, rng):
        if not self.rows:
            return fresh
        n, held = len(fresh["x"]), len(self.rows["x"])
        use = torch.rand(n, generator=rng) < 0.5
        return {
            k: self.mixed(use, self.rows[k], torch.randint(held, (n,), generator=rng), v)
            for k, v in fresh.items()
        }


class NeverDraws(Healthy):
    def draw(self, fresh, step, rng):
        return fresh


class GlobalDraws(Healthy):
    def draw(self, fresh, step, rng):
        return super().draw(fresh, step, None)


class Forgets(Healthy):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class ForgetsOrder(Healthy):
    """Saves the rows without saying which is the oldest."""

    def state_dict(self):
        return {"rows": {k: v.flip(0) for k, v in self.rows.items()}}


class Grows(Healthy):
    """Keeps all, draws from the last."""

    def push(self, state):
        super().push(state)
        self.all = [*getattr(self, "all", []), self.rows["x"]]

    def state_dict(self):
        return {**super().state_dict(), "all": list(getattr(self, "all", []))}


class Singles(Healthy):
    def kept(self, value):
        return value.detach().clone().float()

    def mixed(self, use, stored, index, fresh):
        return super().mixed(use, stored, index, fresh.float())


class Rounds(Healthy):
    """bf16 to save memory: rows are no longer what they were."""

    def kept(self, value):
        return value.detach().to(torch.bfloat16).to(value.dtype)


class Shuffles(Healthy):
    def draw(self, fresh, step, rng):
        drawn = super().draw(fresh, step, rng)
        order = torch.randperm(len(fresh["x"]), generator=rng)
        return {k: v[order] for k, v in drawn.items()}


class Sorted(Healthy):
    def draw(self, fresh, step, rng):
        drawn = super().draw(fresh, step, rng)
        return {k: drawn[k] for k in sorted(drawn)}


class TensorMetrics(Healthy):
    def metrics(self):
        return {"fill": torch.tensor(0.5)}


class StepIsCapacity(Healthy):
    """An option that does nothing: the capacity is fixed."""

    def __init__(self, options):
        super().__init__(options)
        self.capacity = 64


class Copies(Healthy):
    """Each of several ranks goes on with the chains of the first."""

    def redistributed(self, states, world):
        return [states[0]] * world
