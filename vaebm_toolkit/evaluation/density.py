"""The density of a model of the plane, normalised by quadrature: exact log-likelihoods in two dimensions.

log h(x) = log p_θ(x) − E(x) − log Z, Z = ∫ p_θ(x) exp(−E(x)) dx, where either factor may be missing;
without E, Z = 1 and the grid only shows how much of p_θ it holds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.core import Autoencoder, EnergyFunction, Fitted, Generator, standard_normal, stream

ROWS = 16_384  # rows per call of a network: what stays in a core's cache


class Grid(NamedTuple):
    """Points on a square lattice: the trapezoidal rule, for densities that vanish at its edge.

    For a density that varies like a Gaussian of standard deviation σ its relative error is about
    exp(−2π²σ²/spacing²): 3e-9 at spacing = σ.
    """

    points: Tensor
    """(H·W, 2), rows from the lowest second coordinate, the first one running fastest"""
    shape: tuple[int, int]
    """H, W"""
    spacing: float

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """left, right, bottom, top"""
        (left, bottom), (right, top) = self.points[0].tolist(), self.points[-1].tolist()
        return left, right, bottom, top

    @property
    def edge(self) -> Tensor:
        """(H·W,) bool: the outermost 2 % of the lattice on each side, where next to no mass should be."""
        height, width = self.shape
        border = torch.ones(height, width, dtype=torch.bool, device=self.points.device)
        a, b = max(1, height // 50), max(1, width // 50)
        border[a:-a, b:-b] = False
        return border.flatten()


def lattice(x: Tensor, spacing: float, margin: float) -> Grid:
    """The lattice over the range of x (N, 2) and `margin` around it, both in data units."""
    low, high = x.amin(0) - margin, x.amax(0) + margin
    axes = []
    for a, b in zip(low.tolist(), high.tolist(), strict=True):
        count = math.ceil((b - a) / spacing) + 1
        axes.append(a + spacing * torch.arange(count, dtype=x.dtype, device=x.device))
    second, first = torch.meshgrid(axes[1], axes[0], indexing="ij")
    points = torch.stack([first.flatten(), second.flatten()], 1)
    return Grid(points, (len(axes[1]), len(axes[0])), spacing)


@torch.no_grad()
def decoder_sigma(generator: Generator, rng: torch.Generator, like: Tensor, draws: int = 4096) -> Tensor:
    """Standard deviations of p(x|z) at latents of the prior, (draws, *data shape).

    T is affine in ε_x with a factor σ_x: T(z, 1) − T(z, 0).
    """
    eps = standard_normal(generator.groups, draws, rng, like)
    return generator.decode({**eps, "x": torch.ones_like(eps["x"])}).x - generator.mean(eps)


@torch.no_grad()
def energies(energy: EnergyFunction, x: Tensor) -> Tensor:
    """E(x), (N,), in chunks, float64."""
    return torch.cat([energy(part).double() for part in x.split(ROWS)])


@torch.no_grad()
def log_weights(model: Autoencoder, x: Tensor, draws: int, rng: torch.Generator) -> Tensor:
    """log p(x, z_k) − log q(z_k|x), z_k ~ q(z|x), (draws, N) float64; the mean over k of exp is p_θ(x)."""
    several = max(1, min(draws, ROWS // len(x)))
    found, left = [], draws
    while left:
        k = min(several, left)
        parts = [model.log_weight(part, rng).double() for part in x.repeat(k, 1).split(ROWS)]
        found.append(torch.cat(parts).view(k, len(x)))
        left -= k
    return torch.cat(found)


class LogMean(NamedTuple):
    """log of a mean of exponentials, with the standard error that its draws leave."""

    value: Tensor
    error: Tensor


def log_mean_exp(log_values: Tensor) -> LogMean:
    """log (1/K) Σ_k exp(a_k) over the first axis; its error sd(exp a) / (√K mean exp a) (delta method)."""
    draws = len(log_values)
    value = torch.logsumexp(log_values, 0) - math.log(draws)
    relative = (log_values - value).exp()
    return LogMean(value, relative.var(0).sqrt() / math.sqrt(draws))


class Partition(NamedTuple):
    """Z of a model on a grid."""

    log_z: float
    error: float
    """standard error left by the importance weights; 0 where p_θ is no factor"""
    log_density: Tensor
    """(H·W,) float64, log h at the grid's points"""
    edge: float
    """share of the mass on the grid's edge"""
    mass: LogMean | None
    """log of what the weights find of p_θ on the grid; what is there is next to 1"""


def partition(model: Fitted, grid: Grid, draws: int, rng: torch.Generator) -> Partition:
    """log Z by the trapezoidal rule, and log h on the grid.

    Draw k of the weights gives unbiased sums a_k of p_θ exp(−E) and b_k of p_θ over the grid. p_θ has
    mass 1, and the share r of its samples falls on the grid: Z = r · mean a / mean b. What one draw
    finds too much or too little of p_θ is in both sums and cancels.
    """
    tilt = -energies(model.energy, grid.points) if model.energy is not None else torch.zeros(())
    cell, mass = 2 * math.log(grid.spacing), None
    if model.generator is None:
        log_density = tilt
        log_z, error = float(torch.logsumexp(tilt, 0)) + cell, 0.0
    else:
        assert isinstance(model.generator, Autoencoder)
        total = torch.full(grid.points.shape[:1], -torch.inf, dtype=torch.float64, device=grid.points.device)
        both, plain = [], []
        for _ in range(draws):
            weights = log_weights(model.generator, grid.points, 1, rng)[0]
            both.append(torch.logsumexp(weights + tilt, 0) + cell)
            plain.append(torch.logsumexp(weights, 0) + cell)
            total = torch.logaddexp(total, weights)
        a, mass = log_mean_exp(torch.stack(both)), log_mean_exp(torch.stack(plain))
        log_z = float(a.value - mass.value) + math.log(share_on(grid, model.generator, rng))
        residual = (torch.stack(both) - a.value).exp() - (torch.stack(plain) - mass.value).exp()
        error = float(residual.std()) / math.sqrt(draws)
        log_density = total - math.log(draws) - mass.value + tilt
    log_density = log_density - torch.logsumexp(log_density, 0) - cell
    edge = (log_density[grid.edge].exp().sum() * grid.spacing**2).item()
    return Partition(log_z, error, log_density, edge, mass)


@torch.no_grad()
def share_on(grid: Grid, generator: Generator, rng: torch.Generator, draws: int = 65_536) -> float:
    """Share of p_θ's samples in the cells of the grid, which reach half a spacing beyond its points."""
    low, high = grid.points[0] - grid.spacing / 2, grid.points[-1] + grid.spacing / 2
    inside = 0
    for rows in torch.arange(draws).split(ROWS):
        x = generator.decode(standard_normal(generator.groups, len(rows), rng, grid.points)).x
        inside += int(((x >= low) & (x <= high)).all(1).sum())
    return inside / draws


@torch.no_grad()
def log_z_by_samples(model: Fitted, draws: int, rng: torch.Generator, like: Tensor) -> LogMean:
    """log E[exp(−E(x))] over x ~ p_θ: Z without a grid and without the encoder."""
    assert model.generator is not None
    assert model.energy is not None
    found = []
    for rows in torch.arange(draws).split(ROWS):
        x = model.generator.decode(standard_normal(model.generator.groups, len(rows), rng, like)).x
        found.append(-model.energy(x).double())
    return log_mean_exp(torch.cat(found))


def relative_density(model: Fitted, points: Tensor, draws: int = 32, seed: int = 0) -> Tensor:
    """Density at the points (N, 2), the largest one 1, (N,) float64: what a picture shows."""
    log_density = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    if model.energy is not None:
        log_density = log_density - energies(model.energy, points)
    if model.generator is not None:
        assert isinstance(model.generator, Autoencoder)
        rng = stream(seed, "density", "picture", device=points.device)
        log_density = log_density + log_mean_exp(log_weights(model.generator, points, draws, rng)).value
    return (log_density - log_density.max()).exp()


class PlaneLikelihood(NamedTuple):
    """Mean log-likelihood of points of the plane, in nats per point."""

    nats: float
    error: float
    """standard error: of the mean over points, of the weights at the points, and of log Z, together"""
    weights_error: float
    """the part of the importance weights at the points"""
    grid: Grid
    partition: Partition
    by_samples: LogMean | None
    """log Z by samples of p_θ, where both factors are there"""


def plane_likelihood(
    model: Fitted, x: Tensor, *, seed: int = 0, point_draws: int = 256, grid_draws: int = 32,
    sample_draws: int = 262_144, cells: int = 160, margin: float = 0.15,
) -> PlaneLikelihood:  # fmt: skip
    """E[log h(x)] over the points x (N, 2).

    The grid reaches `margin` of the data's range beyond it; its spacing is the smallest (1 %) standard
    deviation of the decoder where there is one, and at most 1/cells of the range.

    point_draws, grid_draws: importance weights per point and per cell; sample_draws: samples for log Z.
    """
    extent = float((x.amax(0) - x.amin(0)).max())
    spacing = extent / cells
    if model.generator is not None:
        sigma = decoder_sigma(model.generator, stream(seed, "density", "sigma", device=x.device), x)
        spacing = min(spacing, float(sigma.flatten().quantile(0.01)))
        spacing = max(spacing, extent / (4 * cells))
    grid = lattice(x, spacing, margin * extent)
    found = partition(model, grid, grid_draws, stream(seed, "density", "grid", device=x.device))
    log_prob = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    weights_error, by_samples = 0.0, None
    if model.energy is not None:
        log_prob = log_prob - energies(model.energy, x)
    if model.generator is not None:
        assert isinstance(model.generator, Autoencoder)
        rng = stream(seed, "density", "points", device=x.device)
        weights = [
            log_mean_exp(log_weights(model.generator, part, point_draws, rng)) for part in x.split(1024)
        ]
        log_prob = log_prob + torch.cat([w.value for w in weights])
        weights_error = float(torch.cat([w.error for w in weights]).square().sum().sqrt()) / len(x)
    if model.generator is not None and model.energy is not None:
        rng = stream(seed, "density", "samples", device=x.device)
        by_samples = log_z_by_samples(model, sample_draws, rng, x)
    spread = float(log_prob.std()) / math.sqrt(len(x))
    log_z, z_error = (0.0, 0.0) if model.energy is None else (found.log_z, found.error)
    error = math.sqrt(spread**2 + weights_error**2 + z_error**2)
    return PlaneLikelihood(float(log_prob.mean()) - log_z, error, weights_error, grid, found, by_samples)
