"""Samplers that are wrong in one way each."""

from __future__ import annotations

from typing import ClassVar

import torch

from vaebm_toolkit.core import Sampler, rand, randn_like, value_and_grad


class Langevin(Sampler):
    """Healthy: v + (η/2) score + √η ω."""

    space = "latent"

    def __init__(self, options, bounds=None) -> None:
        self.steps, self.step_size = options.steps, options.step_size

    def noise(self, v, rng):
        return self.step_size**0.5 * randn_like(v, rng)

    def score(self, log_density, state):
        return value_and_grad(log_density, state)

    def step(self, state, log_density, rng):
        log_prob, score = self.score(log_density, state)
        moved = {k: v + self.step_size / 2 * score[k] + self.noise(v, rng) for k, v in state.items()}
        return moved, {"log_prob": log_prob.mean()}

    def stationary_variance(self, precision):
        rate = self.step_size * precision
        return 1 / (precision * (1 - rate / 4)) if rate < 4 else None


class TwiceTheNoise(Langevin):
    """√(2η) beside η/2."""

    def noise(self, v, rng):
        return 2**0.5 * super().noise(v, rng)


class UniformNoise(Langevin):
    """rand for randn."""

    def noise(self, v, rng):
        return (12 * self.step_size) ** 0.5 * rand(v.shape, rng, like=v)


class ClaimsTooMuch(Langevin):
    """1/λ, as if a Metropolis test corrected the step."""

    def stationary_variance(self, precision):
        return 1 / precision if self.step_size * precision < 4 else None


class GradientOfTheMean(Langevin):
    """The loss habit: .mean() over the batch scales every gradient by 1/B."""

    def score(self, log_density, state):
        position = {k: v.detach().requires_grad_() for k, v in state.items()}
        log_prob = log_density(position)
        return log_prob.detach(), dict(
            zip(position, torch.autograd.grad(log_prob.mean(), list(position.values())), strict=True)
        )


class Downhill(Langevin):
    """−U is taken for U."""

    def score(self, log_density, state):
        log_prob, score = super().score(log_density, state)
        return log_prob, {k: -v for k, v in score.items()}


class OneNoiseForAllRows(Langevin):
    def noise(self, v, rng):
        return self.step_size**0.5 * randn_like(v[:1], rng).expand_as(v)


class GlobalNoise(Langevin):
    def noise(self, v, rng):
        return self.step_size**0.5 * torch.randn_like(v)


class BatchNoise(Langevin):
    """torch.randn with the generator: streams of rows are not respected."""

    def noise(self, v, rng):
        return self.step_size**0.5 * torch.randn(v.shape, generator=rng, dtype=v.dtype)


class OwnStream(Langevin):
    """A generator of its own, seeded at every step."""

    def noise(self, v, rng):
        return self.step_size**0.5 * torch.randn(
            v.shape, generator=torch.Generator().manual_seed(0), dtype=v.dtype
        )


class InPlace(Langevin):
    def step(self, state, log_density, rng):
        log_prob, score = self.score(log_density, state)
        for k, v in state.items():
            v.add_(self.step_size / 2 * score[k] + self.noise(v, rng))
        return state, {"log_prob": log_prob.mean()}


class LeavesGraph(Langevin):
    def score(self, log_density, state):
        position = {k: v.requires_grad_() if v.is_leaf else v for k, v in state.items()}
        log_prob = log_density(position)
        grads = torch.autograd.grad(log_prob.sum(), list(position.values()), create_graph=True)
        return log_prob.detach(), dict(zip(position, grads, strict=True))


class Backward(Langevin):
    """.backward() fills the gradients of the density's weights."""

    def score(self, log_density, state):
        position = {k: v.detach().clone().requires_grad_() for k, v in state.items()}
        log_prob = log_density(position)
        log_prob.sum().backward()
        return log_prob.detach(), {k: v.grad for k, v in position.items()}


class Sorted(Langevin):
    def step(self, state, log_density, rng):
        moved, diagnostics = super().step(state, log_density, rng)
        return dict(sorted(moved.items())), diagnostics


class MovesXAlone(Langevin):
    def step(self, state, log_density, rng):
        moved, diagnostics = super().step(state, log_density, rng)
        return {**state, "x": moved["x"]}, diagnostics


class Casts(Langevin):
    def noise(self, v, rng):
        return super().noise(v, rng).to(torch.get_default_dtype())


class PlainDiagnostics(Langevin):
    def step(self, state, log_density, rng):
        moved, diagnostics = super().step(state, log_density, rng)
        return moved, {k: v.item() for k, v in diagnostics.items()}


class Momentum(Langevin):
    """Momentum that is kept in the sampler and not in the state."""

    held: dict | None = None

    def stationary_variance(self, precision):
        return None

    def step(self, state, log_density, rng):
        log_prob, score = self.score(log_density, state)
        if self.held is None or any(len(self.held[k]) != len(v) for k, v in state.items() if k in self.held):
            self.held = {}
        self.held = {k: 0.5 * self.held.get(k, torch.zeros_like(v)) + score[k] for k, v in state.items()}
        moved = {k: v + self.step_size / 2 * self.held[k] + self.noise(v, rng) for k, v in state.items()}
        return moved, {"log_prob": log_prob.mean()}


class OneStepSizeForAll(Langevin):
    """A step size that adapts to the mean over the batch."""

    def stationary_variance(self, precision):
        return None

    def step(self, state, log_density, rng):
        log_prob, score = self.score(log_density, state)
        size = self.step_size / (1 + log_prob.mean().abs())
        moved = {k: v + size / 2 * score[k] + size**0.5 * randn_like(v, rng) for k, v in state.items()}
        return moved, {"log_prob": log_prob.mean()}


class DensityOfAll(Langevin):
    """Calls the density with what it keeps beside the groups."""

    def stationary_variance(self, precision):
        return None

    def init(self, position):
        return {**super().init(position), "~count": torch.zeros(len(next(iter(position.values()))))}

    def position(self, state):
        return {k: v for k, v in state.items() if not k.startswith("~")}


class LeavesBounds(Langevin):
    """Says that it keeps the bounds, and does not."""

    space = "data"

    def __init__(self, options, bounds=None) -> None:
        super().__init__(options, bounds)
        self.bounds = bounds


class NoBoundsKeyword(Langevin):
    def __init__(self, options) -> None:
        super().__init__(options)


class Mala(Langevin):
    """Healthy: Langevin proposals with a Metropolis test."""

    reversible = True
    corrected: ClassVar[bool] = True

    def stationary_variance(self, precision):
        return 1 / precision

    def step(self, state, log_density, rng):
        here, score = value_and_grad(log_density, state)
        proposal = {k: v + self.step_size / 2 * score[k] + self.noise(v, rng) for k, v in state.items()}
        there, back = value_and_grad(log_density, proposal)
        log_ratio = there - here
        if self.corrected:
            forth = {k: proposal[k] - v - self.step_size / 2 * score[k] for k, v in state.items()}
            home = {k: v - proposal[k] - self.step_size / 2 * back[k] for k, v in state.items()}
            for k in state:
                square = forth[k].flatten(1).square().sum(1) - home[k].flatten(1).square().sum(1)
                log_ratio = log_ratio + square / (2 * self.step_size)
        return self.chosen(state, proposal, log_ratio, rng), {"log_prob": here.mean()}

    def chosen(self, state, proposal, log_ratio, rng):
        accept = rand(log_ratio.shape, rng, like=log_ratio).log() < log_ratio
        return {
            k: torch.where(accept.view(-1, *[1] * (v.dim() - 1)), proposal[k], v) for k, v in state.items()
        }


class Uncorrected(Mala):
    """The test leaves out q(v|v′) / q(v′|v)."""

    corrected = False

    def stationary_variance(self, precision):
        return None


class AcceptsAll(Mala):
    def stationary_variance(self, precision):
        return None

    def chosen(self, state, proposal, log_ratio, rng):
        return proposal


class AcceptsByGroup(Mala):
    """Each group of a row is accepted by itself, with the ratio of the whole row."""

    def stationary_variance(self, precision):
        return None

    def chosen(self, state, proposal, log_ratio, rng):
        return {
            k: super(AcceptsByGroup, self).chosen({k: v}, {k: proposal[k]}, log_ratio, rng)[k]
            for k, v in state.items()
        }


class OneTestForAll(Mala):
    """One uniform number for the whole batch."""

    def chosen(self, state, proposal, log_ratio, rng):
        accept = rand((1,), rng, like=log_ratio).log() < log_ratio
        return {
            k: torch.where(accept.view(-1, *[1] * (v.dim() - 1)), proposal[k], v) for k, v in state.items()
        }


class InvertedTest(Mala):
    """Accepts where u > ratio."""

    def stationary_variance(self, precision):
        return None

    def chosen(self, state, proposal, log_ratio, rng):
        return super().chosen(state, proposal, -log_ratio, rng)
