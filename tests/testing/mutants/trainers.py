"""Trainers that are wrong in one way each."""

from __future__ import annotations

import copy

import torch

from vaebm_toolkit import core


class Healthy(core.Trainer):
    """mean E(x⁺) − mean E(x⁻), x⁻ by chains in ε, with a buffer and a moving average."""

    def __init__(self, options, horizon, generator, energy, sampler, buffer):
        self.generator, self.energy = generator.frozen(), energy
        self.sampler, self.buffer = sampler, buffer
        self.players = {"energy": energy}
        self.optimizer = torch.optim.Adam(energy.parameters(), lr=options.lr)
        self.average = copy.deepcopy(energy).requires_grad_(False)

    def optimizers(self):
        return {"energy": self.optimizer}

    def networks(self):
        return {"energy": self.average}

    def noise(self, x, rng):
        return core.standard_normal(self.generator.groups, len(x), rng, like=x)

    def negatives(self, x, step, rng):
        start = self.buffer.draw(self.noise(x, rng), step + 1000, rng)
        with core.frozen(self.energy):
            density = core.target_density(self.sampler, self.generator, self.energy)
            end = core.run_chain(self.sampler, start, density, rng)
        self.buffer.push(end)
        with torch.no_grad():
            return self.generator.decode(end).x

    def updates(self, x, step, rng):
        gap = self.energy(x).mean() - self.energy(self.negatives(x, step, rng)).mean()
        yield core.Update("energy", gap, {"energy_gap": gap})
        core.update_average(self.average, self.energy, 0.9)

    def extra_state(self):
        return {"buffer": self.buffer.state_dict(), "average": self.average.state_dict()}

    def load_extra_state(self, state):
        self.buffer.load_state_dict(state["buffer"])
        self.average.load_state_dict(state["average"])


class ForgetsBuffer(Healthy):
    def extra_state(self):
        return {"average": self.average.state_dict()}

    def load_extra_state(self, state):
        self.average.load_state_dict(state["average"])


class ForgetsAverage(Healthy):
    def extra_state(self):
        return {"buffer": self.buffer.state_dict()}

    def load_extra_state(self, state):
        self.buffer.load_state_dict(state["buffer"])


class ForgetsOptimiser(Healthy):
    def state_dict(self):
        return {**super().state_dict(), "optimizers": {}}

    def load_state_dict(self, state):
        self.energy.load_state_dict(state["players"]["energy"])
        self.load_extra_state(state["extra"])


class NewOptimiser(Healthy):
    def optimizers(self):
        return {"energy": torch.optim.Adam(self.energy.parameters())}


class OptimiserOfTheGenerator(Healthy):
    def __init__(self, options, horizon, generator, **parts):
        super().__init__(options, horizon, generator, **parts)
        self.optimizer = torch.optim.Adam([*self.energy.parameters(), *generator.parameters()])


class MovesTheGenerator(Healthy):
    def __init__(self, options, horizon, generator, **parts):
        super().__init__(options, horizon, generator, **parts)
        self.theirs = generator

    def updates(self, x, step, rng):
        yield from super().updates(x, step, rng)
        with torch.no_grad():
            for p in self.theirs.parameters():
                p.mul_(0.99)


class StepsItself(Healthy):
    def updates(self, x, step, rng):
        for update in super().updates(x, step, rng):
            yield update._replace(loss=update.loss.detach().requires_grad_() * 0)


class WrongPlayer(Healthy):
    def updates(self, x, step, rng):
        for update in super().updates(x, step, rng):
            yield update._replace(player="critic")


class SumOfRows(Healthy):
    def updates(self, x, step, rng):
        yield core.Update("energy", self.energy(x), {})


class ItemMetrics(Healthy):
    def updates(self, x, step, rng):
        for update in super().updates(x, step, rng):
            yield update._replace(metrics={"energy_gap": update.loss.item()})


class GlobalNoise(Healthy):
    def noise(self, x, rng):
        return {k: torch.randn(len(x), *s) for k, s in self.generator.groups.items()}


class SavesObjects(Healthy):
    def extra_state(self):
        return {**super().extra_state(), "optimizer": self.optimizer}


class OtherName(Healthy):
    def networks(self):
        return {"model": self.average}


class Wrapped(Healthy):
    def networks(self):
        return {"energy": torch.nn.Sequential(self.average)}


class NoHorizon(Healthy):
    def __init__(self, options, generator, energy, sampler, buffer):
        super().__init__(options, None, generator, energy, sampler, buffer)


class MovesStatistics(Healthy):
    """Decodes with the generator itself in training mode: BatchNorm's statistics move."""

    def __init__(self, options, horizon, generator, **parts):
        super().__init__(options, horizon, generator, **parts)
        self.generator = generator.train().requires_grad_(False)


class WritesData(Healthy):
    """Dequantises in place."""

    def updates(self, x, step, rng):
        x.add_(0.01 * core.randn_like(x, rng))
        yield from super().updates(x, step, rng)


class Explodes(Healthy):
    """Divides by zero when the stage ends."""

    def finish(self, rng):
        with torch.no_grad():
            for p in self.average.parameters():
                p.div_(0.0)


class ForgetsCount(Healthy):
    """A weight of the loss that decays with a counter, which is not saved."""

    count = 0

    def updates(self, x, step, rng):
        self.count += 1
        for update in super().updates(x, step, rng):
            yield update._replace(loss=update.loss * 0.5**self.count)


class OwnStream(Healthy):
    """One stream for the whole stage, kept in the trainer."""

    def __init__(self, options, horizon, generator, **parts):
        super().__init__(options, horizon, generator, **parts)
        self.rng = torch.Generator().manual_seed(0)

    def updates(self, x, step, rng):
        yield from super().updates(x, step, self.rng)


class NoUpdates(Healthy):
    def updates(self, x, step, rng):
        return iter(())
