"""Spectrally normalised convolution, as IGEBM uses it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_toolkit.core import NormalisedConv2d


class SpectralNormConv2d(NormalisedConv2d):
    """Effective weight W/σ, or W/(σ + 1e-6) · min(σ, 1) where `bound` (Miyato et al., 2018; IGEBM).

    σ = uᵀWv estimates the largest singular value of W as a (C_out, C_in·k²) matrix by power
    iteration from the stored u. Its gradient flows through W, with u and v held fixed.

    A forward pass always computes with the u it has moved. It keeps that u in training mode, and
    with `always` also in eval mode, so that the function changes from call to call there.
    """

    weight_u: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        padding: int = 0,
        bias: bool = True,
        bound: bool = False,
        always: bool = False,
        iterations: int = 1,
        std: float = 1.0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding, bias=bias)
        self.weight_orig = nn.Parameter(torch.randn_like(self.weight) * std)
        del self.weight
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        self.register_buffer("weight_u", torch.randn(out_channels))
        self.bound, self.always, self.iterations = bound, always, iterations

    @property
    def holdable(self) -> bool:
        return not self.always

    def normalised_weight(self) -> Tensor:
        return self.normalised(*self.singular_vectors())

    def forward(self, x: Tensor) -> Tensor:
        if self.held_weight is not None:
            return super().forward(x)
        u, v = self.singular_vectors()
        if self.training or self.always:
            self.weight_u.copy_(u)
        return F.conv2d(x, self.normalised(u, v), self.bias, self.stride, self.padding)

    def normalised(self, u: Tensor, v: Tensor) -> Tensor:
        """The weight divided by σ = uᵀWv, or bounded so that its σ is at most 1."""
        w = self.weight_orig
        sigma = (u[:, None] * w.flatten(1) * v).sum()
        if self.bound:
            return w / (sigma + 1e-6) * sigma.clamp(max=1)
        return w / sigma

    @torch.no_grad()
    def singular_vectors(self) -> tuple[Tensor, Tensor]:
        """u (C_out,) and v (C_in·k²,), both of length 1, after power iterations from the stored u.

        Products are written out, because autocast would do `w @ v` in half precision.
        """
        w, u = self.weight_orig.flatten(1), self.weight_u
        for _ in range(self.iterations):
            v = F.normalize((w * u[:, None]).sum(0), dim=0)
            u = F.normalize((w * v).sum(1), dim=0)
        return u, v
