"""Running a Markov chain: the one loop, and the one gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vaebm_toolkit.core.interfaces import LogDensity, Sampler, State, square_norm
from vaebm_toolkit.core.rng import rand, randn_like

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

    `observe(k, position, diagnostics)` is called after step k = 0, 1, … The result is a position too: what
    the kernel keeps beside it is dropped.
    """
    state = sampler.init(start)
    for k in range(sampler.steps if steps is None else steps):
        state, diagnostics = sampler.step(state, log_density, rng)
        if observe is not None:
            observe(k, sampler.position(state), diagnostics)
    return {k: v.detach() for k, v in sampler.position(state).items()}


@torch.no_grad()
def prior_jumps(
    state: State, log_density: LogDensity, moves: int, rng: torch.Generator
) -> tuple[State, Tensor]:
    """`moves` Metropolis–Hastings moves to ε′ ~ N(0, I), and the share of them that was accepted.

    An independence sampler (Tierney, 1994): a row moves with probability min(1, w(ε′) / w(ε)),
    w(ε) = density / N(ε; 0, I), which leaves the density as it is. For VAEBM's in ε-space
    w = exp(−E(T(ε))). It carries chains between modes that gradients do not connect, as long as the
    prior finds the modes by itself.
    """
    log_weight = log_density(state) + 0.5 * square_norm(state)
    share = torch.zeros_like(log_weight)
    for _ in range(moves):
        proposal = {name: randn_like(v, rng) for name, v in state.items()}
        proposed = log_density(proposal) + 0.5 * square_norm(proposal)
        accept = rand(log_weight.shape, rng, like=log_weight).log() < proposed - log_weight
        share += accept.to(share) / moves
        log_weight = torch.where(accept, proposed, log_weight)
        state = {
            name: torch.where(accept.view(-1, *[1] * (v.dim() - 1)), proposal[name], v)
            for name, v in state.items()
        }
    return state, share.mean()
