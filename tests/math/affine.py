"""An affine generator with a quadratic energy: h is Gaussian, and Z is known."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from vaebm_toolkit.core import Decoded, Generator, State, randn
from vaebm_toolkit.evaluation.paths import Path, latent_path


class Affine(Generator):
    """x = A ε + b, ε the groups z0 and x side by side: p_θ = N(b, A Aᵀ)."""

    def __init__(self, matrix: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.matrix, self.offset = matrix, offset
        size = matrix.shape[1]
        self.groups = {"z0": (size // 2,), "x": (size - size // 2,)}

    def decode(self, eps: State) -> Decoded:
        return Decoded(torch.cat([eps["z0"], eps["x"]], 1) @ self.matrix.T + self.offset, None)

    def state(self, flat: Tensor) -> State:
        cut = self.groups["z0"][0]
        return {"z0": flat[:, :cut], "x": flat[:, cut:]}


class Product:
    """p_θ of `Affine` and E(x) = ½ λ ‖x − m‖², in `size` dimensions."""

    def __init__(self, size: int, sharpness: float, seed: int = 0, far: float = 1.0) -> None:
        rng = torch.Generator().manual_seed(seed)
        self.matrix = torch.eye(size) + 0.5 * randn((size, size), rng) / size**0.5
        self.offset, self.sharpness = randn((size,), rng), sharpness
        self.centre = self.offset + far * randn((size,), rng)
        self.generator = Affine(self.matrix, self.offset)

    def energy(self, x: Tensor) -> Tensor:
        return 0.5 * self.sharpness * (x - self.centre).square().sum(1)

    @property
    def path(self) -> Path:
        return latent_path(self.generator, self.energy, self.matrix)

    @property
    def h(self) -> MultivariateNormal:
        """h(ε) ∝ exp(−½‖ε‖² − E(A ε + b)): precision I + λ AᵀA, mean (…)⁻¹ λ Aᵀ (m − b)."""
        a, s = self.matrix, self.sharpness
        precision = torch.eye(len(a)) + s * a.T @ a
        mean = torch.linalg.solve(precision, s * a.T @ (self.centre - self.offset))
        return MultivariateNormal(mean, precision_matrix=precision)

    @property
    def log_z(self) -> float:
        """log E[exp(−½ λ ‖x − m‖²)], x ~ N(b, AAᵀ): −½ log|I + λ AAᵀ| − ½ dᵀ (AAᵀ + 1/λ)⁻¹ d, d = b − m."""
        covariance, eye = self.matrix @ self.matrix.T, torch.eye(len(self.matrix))
        d = self.offset - self.centre
        quadratic = d @ torch.linalg.solve(covariance + eye / self.sharpness, d)
        return float(-0.5 * torch.logdet(eye + self.sharpness * covariance) - 0.5 * quadratic)

    def exact(self, n: int, seed: int = 0) -> State:
        """n samples of h as ε."""
        h = self.h
        noise = randn((n, len(self.matrix)), torch.Generator().manual_seed(seed))
        return self.generator.state(h.mean + noise @ h.scale_tril.T)
