"""Regularisers on weights: the spectral penalty and BatchNorm's scale."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_toolkit.core import ranks
from vaebm_toolkit.core.layers import NormalisedConv2d
from vaebm_toolkit.core.rng import stream


class SpectralPenalty:
    """Σ over convolutions of the largest singular value of the effective weight (C_out, C_in·k²).

    Power iteration on persistent vectors, `iterations` per call and `warmup` at the first,
    stacked over matrices of equal shape; the gradient flows through the weight only
    (NVAE, section 3.2; VAEBM, appendix E). Linear layers are not counted.

    Over several ranks it is computed once: each has some of the shapes, and returns as many times its
    part as there are ranks, so that the mean over the ranks, which is taken of gradients and of what is
    logged, is the whole.
    """

    def __init__(self, module: nn.Module, iterations: int = 4, warmup: int = 40, seed: int = 0) -> None:
        self.convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
        self.iterations, self.warmup, self.seed = iterations, warmup, seed
        self.left: dict[str, Tensor] = {}
        self.right: dict[str, Tensor] = {}

    def matrices(self, shapes: Collection[str] | None = None) -> dict[str, Tensor]:
        """Shape -> (n, C_out, C_in·k²), in module order within a shape; of all shapes, or of some."""
        by_shape: dict[str, list[Tensor]] = {}
        for conv in self.convolutions:
            if shapes is not None and shape_of(conv) not in shapes:
                continue
            weight = conv.normalised_weight() if isinstance(conv, NormalisedConv2d) else conv.weight
            by_shape.setdefault(shape_of(conv), []).append(weight.flatten(1))
        return {shape: torch.stack(ms) for shape, ms in by_shape.items()}

    def __call__(self) -> Tensor:
        """The penalty, a scalar; 0 for a network without convolutions."""
        total = torch.zeros(())
        for shape, w in self.matrices(self.mine()).items():
            u, v = self.singular_vectors(shape, w.detach())
            total = total + torch.einsum("ni,nij,nj->", u, w, v)
        return ranks.world() * total

    def mine(self) -> set[str]:
        """The shapes that are this rank's: the costliest first, each to the rank that has least to do."""
        if ranks.world() == 1:
            return {shape_of(conv) for conv in self.convolutions}
        costs: dict[str, int] = {}
        for conv in self.convolutions:
            rows, columns = sides(conv)
            costs[shape_of(conv)] = costs.get(shape_of(conv), 0) + rows * columns
        load = [0] * ranks.world()
        chosen = set()
        for shape in sorted(costs, key=lambda s: (-costs[s], s)):
            least = load.index(min(load))
            load[least] += costs[shape]
            if least == ranks.rank():
                chosen.add(shape)
        return chosen

    @torch.no_grad()
    def singular_vectors(self, shape: str, w: Tensor) -> tuple[Tensor, Tensor]:
        """Leading left and right vectors, (n, C_out) and (n, C_in·k²), after this call's iterations."""
        first = shape not in self.left
        u = self.start(shape, w) if first else self.left[shape].to(w)
        for _ in range(self.warmup if first else self.iterations):
            v = unit(torch.einsum("nij,ni->nj", w, u))
            u = unit(torch.einsum("nij,nj->ni", w, v))
        self.left[shape], self.right[shape] = u, v
        return u, v

    def start(self, shape: str, w: Tensor) -> Tensor:
        rng = stream(self.seed, "spectral", shape)
        return unit(torch.randn(w.shape[:2], generator=rng, dtype=w.dtype).to(w.device))

    def state_dict(self) -> dict[str, Any]:
        """The vectors of all shapes. Of several ranks together: each has to call it."""
        found: dict[str, Any] = {"left": {}, "right": {}}
        for part in ranks.gathered({"left": dict(self.left), "right": dict(self.right)}):
            for side, vectors in part.items():
                found[side].update(vectors)
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        mine = self.mine()
        self.left = {shape: u for shape, u in state["left"].items() if shape in mine}
        self.right = {shape: v for shape, v in state["right"].items() if shape in mine}


def sides(conv: nn.Conv2d) -> tuple[int, int]:
    """C_out and C_in·k² of its matrix, by its settings: not every kind has a `weight`."""
    return conv.out_channels, conv.in_channels // conv.groups * math.prod(conv.kernel_size)


def shape_of(conv: nn.Conv2d) -> str:
    """The name of its matrix's shape, C_out x C_in·k²."""
    return "x".join(map(str, sides(conv)))


def unit(x: Tensor) -> Tensor:
    """x / max(‖x‖, 1e-3), row by row."""
    return F.normalize(x, dim=1, eps=1e-3)


class BatchNormPenalty:
    """Σ over BatchNorm layers of max_c |γ_c| (NVAE, section 3.2)."""

    def __init__(self, module: nn.Module) -> None:
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.scales = [m.weight for m in norms if m.affine]

    def __call__(self) -> Tensor:
        if not self.scales:
            return torch.zeros(())
        return torch.stack([s.abs().max() for s in self.scales]).sum()
