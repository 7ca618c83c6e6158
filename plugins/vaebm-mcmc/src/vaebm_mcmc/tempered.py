"""Parallel tempering between the prior and the density."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vaebm_mcmc.hmc import LatentHmc
from vaebm_mcmc.metropolis import (
    KEPT,
    LOG_PROB,
    STEP_SIZE,
    Point,
    along,
    decided,
    each,
    evaluator,
    packed,
    unpacked,
)
from vaebm_mcmc.options import TemperedOptions
from vaebm_toolkit.core import LogDensity, RowStreams, State, rand, randn_like, square_norm

HOTTER = KEPT + "hotter/"
"""Begins the names of the positions on the rungs above the coldest, (B, K − 1, …)."""


class LatentTempered(LatentHmc):
    """K chains per row on log π_β(ε) = β g(ε) − ½‖ε‖², g = log π + ½‖ε‖² (VAEBM: −E(T(ε))), β = 1 … 1/T_K.

    A step is a trajectory on each rung, a jump of the hottest one to ε′ ~ N(0, I) by Metropolis–Hastings,
    and exchanges of neighbours from the hottest down (Geyer, 1991). Hot chains go where cold ones cannot.
    Each part leaves Π_k π_β_k as it is. A state's groups are those of the coldest rung, β = 1.
    """

    def __init__(self, options: TemperedOptions, bounds: tuple[float, float] | None = None) -> None:
        super().__init__(options, bounds)
        self.beta = options.inverse_temperatures
        self.reversible = False  # of the coldest rung by itself nothing is claimed but its limit

    def init(self, position: State) -> State:
        """Every rung starts at `position`, with steps of δ √T."""
        rows = super().init({k: v.repeat_interleave(len(self.beta), 0) for k, v in position.items()})
        rows[STEP_SIZE] = rows[STEP_SIZE] * self.beta_of(rows[STEP_SIZE]).rsqrt()
        return self.unfolded(rows)

    def step(
        self, state: State, log_density: LogDensity, rng: torch.Generator
    ) -> tuple[State, Mapping[str, Tensor]]:
        """Diagnostics: the coldest rung's, the mean probability of a jump, and that of an exchange of the two
        neighbours that exchange least.
        """
        rows = self.folded(state)
        beta = self.beta_of(rows[STEP_SIZE])
        rows, acceptance, step_size = self.move(
            rows, tempered(log_density, beta), repeated(rng, len(self.beta))
        )
        point, jumps = self.jumped(rows, log_density, rng)
        point, exchanges = self.exchanged(point, beta, rng)
        state = self.unfolded({**rows, **packed(point)})
        cold = slice(None, None, len(self.beta))
        diagnostics = {
            "log_prob": state[LOG_PROB][:, 0].mean(), "acceptance": acceptance[cold].mean(),
            "step_size": step_size[cold].mean(), "jumps": jumps, **exchanges,
        }  # fmt: skip
        return state, diagnostics

    def jumped(self, rows: State, log_density: LogDensity, rng: torch.Generator) -> tuple[Point, Tensor]:
        """The hottest rung moves to a draw ε′ of the prior with probability min(1, exp(β (g′ − g)))."""
        point = unpacked(rows)
        assert point is not None, "a move leaves what it found of the density"
        index = torch.arange(
            len(self.beta) - 1, len(point.log_prob), len(self.beta), device=point.log_prob.device
        )
        here = each(lambda v: v[index], point)
        fresh = {k: randn_like(v, rng) for k, v in here.position.items()}
        beta = torch.full_like(here.log_prob, self.beta[-1])
        there = evaluator(tempered(log_density, beta))(fresh)
        # log π_β + ½‖ε‖² = β g
        log_ratio = (
            there.log_prob + 0.5 * square_norm(fresh) - here.log_prob - 0.5 * square_norm(here.position)
        )
        end, probability = decided(here, there, log_ratio, rng)
        return each(lambda v, new: v.index_copy(0, index, new), point, end), probability.mean()

    def exchanged(self, point: Point, beta: Tensor, rng: torch.Generator) -> tuple[Point, dict[str, Tensor]]:
        """Rungs k and k + 1 change places with probability min(1, exp((β_k − β_k+1)(g_k+1 − g_k)))."""
        rungs = len(self.beta)
        g = ((point.log_prob + 0.5 * square_norm(point.position)) / beta).unflatten(0, (-1, rungs))
        score = {k: (s + point.position[k]) / along(beta, s) for k, s in point.score.items()}  # ∇g
        order = torch.arange(len(beta), device=beta.device).unflatten(0, (-1, rungs))
        means = []
        for k in reversed(range(rungs - 1)):
            log_ratio = (self.beta[k] - self.beta[k + 1]) * (g[:, k + 1] - g[:, k])
            probability = log_ratio.clamp(max=0).exp().nan_to_num(0)
            exchange = (rand(probability.shape, rng, like=probability) < probability)[:, None]
            both, other = [k, k + 1], [k + 1, k]
            g[:, both] = torch.where(exchange, g[:, other], g[:, both])
            order[:, both] = torch.where(exchange, order[:, other], order[:, both])
            means.append(probability.mean())
        index = order.flatten()
        position = {k: v[index] for k, v in point.position.items()}
        log_prob = beta * g.flatten() - 0.5 * square_norm(position)
        score = {k: along(beta, s) * s[index] - position[k] for k, s in score.items()}
        return Point(position, log_prob, score), {"exchanges": torch.stack(means).min()} if means else {}

    def beta_of(self, row: Tensor) -> Tensor:
        """β of each of B·K rows."""
        return row.new_tensor(self.beta).repeat(len(row) // len(self.beta))

    def unfolded(self, rows: State) -> State:
        """Entries (B·K, …) as (B, K, …), but of the groups the coldest rung, (B, …), the others beside it."""
        kept = {k: v.unflatten(0, (-1, len(self.beta))) for k, v in rows.items()}
        groups = {k: kept.pop(k) for k in self.position(rows)}
        hotter = {HOTTER + k: v[:, 1:] for k, v in groups.items()}
        return {**{k: v[:, 0] for k, v in groups.items()}, **hotter, **kept}

    def folded(self, state: State) -> State:
        """Undo `unfolded`."""
        groups = {k: torch.cat([v[:, None], state[HOTTER + k]], 1) for k, v in self.position(state).items()}
        kept = {k: v for k, v in state.items() if k.startswith(KEPT) and not k.startswith(HOTTER)}
        return {k: v.flatten(0, 1) for k, v in {**groups, **kept}.items()}


def tempered(log_density: LogDensity, beta: Tensor) -> LogDensity:
    """β (log π + ½‖ε‖²) − ½‖ε‖² for β (B,): the density's at β = 1, the prior's at 0."""

    def log_tempered(eps: State) -> Tensor:
        prior = 0.5 * square_norm(eps)
        return beta * (log_density(eps) + prior) - prior

    return log_tempered


def repeated(rng: torch.Generator, times: int) -> torch.Generator:
    """Where every row has a stream, the same one for each of its rungs, which draw in turn."""
    return RowStreams([g for g in rng.rows for _ in range(times)]) if isinstance(rng, RowStreams) else rng
