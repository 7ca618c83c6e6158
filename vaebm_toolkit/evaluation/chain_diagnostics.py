"""How well chains mix: autocorrelation, effective sample size, R̂.

Series are (M, N, *rest): M chains of N draws each, `rest` any dimensions that are treated apart, so that
results are (*rest). Everything is in float64. Where all draws are equal, or one is NaN, results are NaN.

Vehtari et al., "Rank-normalization, folding, and localization", Bayesian Analysis 16 (2021), below "V21".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def autocovariance(x: Tensor) -> Tensor:
    """γ_t = (1/N) Σ_i (x_i − x̄)(x_{i+t} − x̄), each chain about its own mean, (M, N, *rest), by FFT.

    Divided by N at every lag, as Geyer (1992) and V21 have it.
    """
    check(x)
    x = x.double()
    n = x.shape[1]
    power = torch.fft.rfft(x - x.mean(1, keepdim=True), n=2 * n, dim=1).abs().square()
    return torch.fft.irfft(power, n=2 * n, dim=1)[:, :n] / n


def autocorrelation(x: Tensor) -> Tensor:
    """ρ_t of all chains together, (N, *rest): 1 − (W − γ̄_t) / V (V21, section 3.2).

    W = γ̄_0 N/(N − 1) is the variance within chains, V = γ̄_0 + the variance of the chains' means. Chains
    that disagree have a correlation that does not vanish. ρ_0 = 1, and γ̄_t has no N/(N − 1), as in Stan.
    """
    gamma = autocovariance(x)
    n = x.shape[1]
    within = gamma[:, 0].mean(0) * n / (n - 1)
    rho = 1 - (within - gamma.mean(0)) / total_variance(x)
    return torch.cat([torch.where(rho[:1].isnan(), torch.nan, 1.0), rho[1:]])


def total_variance(x: Tensor) -> Tensor:
    """V = W (N − 1)/N + variance of the chains' means (V21, section 3.1), (*rest)."""
    x, n = x.double(), x.shape[1]
    between = x.mean(1).var(0) if len(x) > 1 else 0.0
    return x.var(1).mean(0) * (n - 1) / n + between


def effective_sample_size(x: Tensor) -> Tensor:
    """M N / τ for the mean of x, (*rest), of the chains as they are given (see `bulk_ess`, `tail_ess`).

    τ = −1 + 2 Σ_k P_k with P_k = ρ_{2k} + ρ_{2k+1}, made to fall (P_k ← min_{j ≤ k} P_j) and cut before the
    first that is not positive: Geyer's initial monotone sequence (1992, section 3.3; V21, section
    3.2). As in Stan, ρ_{2k} of the cut pair counts once if it is positive, and τ ≥ 1/log₁₀(M N).
    """
    rho = autocorrelation(x)
    chains, n = x.shape[:2]
    even, odd = rho[0 : 2 * (n // 2) : 2], rho[1 : 2 * (n // 2) : 2]
    last = (n - 1) // 2 - 1 if n % 2 else n // 2 - 2
    pairs = (even + odd)[: last + 1]
    alive = (pairs > 0).cumprod(0).bool()
    alive[last] = False  # of a sequence that never ends, the last pair is the cut one
    cut = alive.sum(0, keepdim=True)
    falling = pairs.cummin(0).values
    tau = -1 + 2 * torch.where(alive, falling, 0.0).sum(0) + even.gather(0, cut)[0].clamp(min=0)
    tau = tau.clamp(min=1 / math.log10(chains * n))
    return torch.where(rho[0].isnan(), torch.nan, chains * n / tau)


def bulk_ess(x: Tensor) -> Tensor:
    """Effective sample size for the centre: of the split chains' ranks (V21, section 4)."""
    return effective_sample_size(rank_normalised(split(x)))


def tail_ess(x: Tensor) -> Tensor:
    """The smaller one of those of x ≤ its 5 % and its 95 % quantile (V21, section 4)."""
    flat = x.double().flatten(0, 1)
    below = [(x.double() <= quantile(flat, q)).double() for q in (0.05, 0.95)]
    return torch.minimum(*(effective_sample_size(split(b)) for b in below))


def split_r_hat(x: Tensor) -> Tensor:
    """√(V/W) of the chains' halves, (*rest): 1 where they agree (V21, section 3.1)."""
    halves = split(x).double()
    return (total_variance(halves) / halves.var(1).mean(0)).sqrt()


def rank_r_hat(x: Tensor) -> Tensor:
    """The larger one of R̂ of the ranks of x and of |x − median|, (*rest) (V21, section 4).

    Finds chains that differ in place or scale, also of laws without a variance. Below 1.01 is good.
    """
    halves = split(x).double()
    median = quantile(halves.flatten(0, 1), 0.5)
    ranks = [rank_normalised(halves), rank_normalised((halves - median).abs())]
    return torch.maximum(*((total_variance(z) / z.var(1).mean(0)).sqrt() for z in ranks))


def split(x: Tensor) -> Tensor:
    """First and second half of each chain, (2 M, N // 2, *rest); of odd N the middle draw is left out."""
    check(x)
    half = x.shape[1] // 2
    return torch.cat([x[:, :half], x[:, -half:]])


def rank_normalised(x: Tensor) -> Tensor:
    """Φ⁻¹((r − 3/8)/(S + 1/4)), r the rank among all S = M N draws, ties averaged (V21, section 4)."""
    flat = x.double().flatten(0, 1)
    columns = flat.flatten(1).T.contiguous() if x.ndim > 2 else flat[None]
    ordered = columns.sort(1).values
    twice = torch.searchsorted(ordered, columns) + torch.searchsorted(ordered, columns, right=True) + 1
    z = torch.special.ndtri((twice.double() / 2 - 3 / 8) / (len(flat) + 1 / 4))
    return torch.where(ordered[:, -1:].isnan(), torch.nan, z).T.reshape(x.shape)  # NaN are sorted last


def quantile(flat: Tensor, q: float) -> Tensor:
    """Of each column, between neighbours linear; `torch.quantile` refuses more than 2²⁴ values."""
    place = q * (len(flat) - 1)
    low = math.floor(place)
    ordered = flat.sort(0).values
    found = ordered[low].lerp(ordered[min(low + 1, len(flat) - 1)], place - low)
    return torch.where(ordered[-1].isnan(), torch.nan, found)


def check(x: Tensor) -> None:
    if x.ndim < 2 or x.shape[1] < 4:
        raise ValueError(f"chains are (chains, draws, …) with at least 4 draws, not {tuple(x.shape)}")
