"""Running a Markov chain: the one loop, and the one gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vaebm_toolkit.core.interfaces import LogDensity, Sampler, State

Observer = Callable[[int, State, Mapping[str, Tensor]], None]


def value_and_grad(log_density: LogDensity, state: State) -> tuple[Tensor, State]:
    """log density (B,) and its gradient in the state, row by row.

    The gradient of the *sum* over rows: rows are independent, so each row gets its own
    gradient, never scaled by B. Only inputs are differentiated, never weights.
    """
    position = {k: v.detach().requires_grad_() for k, v in state.items()}
    with torch.enable_grad():
        log_prob = log_density(position)
        grads = torch.autograd.grad(log_prob.sum(), list(position.values()))
    return log_prob.detach(), dict(zip(position, grads, strict=True))


def run_chain(
    sampler: Sampler,
    start: State,
    log_density: LogDensity,
    rng: torch.Generator,
    steps: int | None = None,
    observe: Observer | None = None,
) -> State:
    """`steps` (default: the sampler's own) kernel applications from `start`.

    `observe(k, state, diagnostics)` is called after step k = 0, 1, …
    """
    state = sampler.init(start)
    for k in range(sampler.steps if steps is None else steps):
        state, diagnostics = sampler.step(state, log_density, rng)
        if observe is not None:
            observe(k, state, diagnostics)
    return {k: v.detach() for k, v in state.items()}
