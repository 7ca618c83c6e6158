"""The map from noise to image that a hierarchy of Gaussian latents defines, however it is computed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from vaebm_nvae.distributions import Normal
from vaebm_nvae.heads import GaussianHead
from vaebm_nvae.ops import arranged
from vaebm_toolkit.core import Decoded, Generator, State

Latent = Callable[[int, Tensor, Tensor | None], Tensor]
"""(group g, raw prior parameters (B, 2L, H, W), decoder feature (None for g = 0)) -> z_g"""


class Hierarchy(Generator):
    """z_g = μ_g(z_<g) + σ_g(z_<g) ε_g, x = (μ(z) + σ(z) ε_x) / 2 + ½ (VAEBM, section 3.1)."""

    @abstractmethod
    def top_down(self, batch: int, latent: Latent) -> GaussianHead:
        """Down the decoder, each group's z chosen by `latent`; the image's distribution."""

    def ancestral(self, eps: State) -> tuple[GaussianHead, list[Normal]]:
        """p(x | z) at z_g = μ_g + σ_g ε_g, and the priors met on the way; ε_x is not used."""
        priors: list[Normal] = []

        def latent(group: int, raw: Tensor, _: Tensor | None) -> Tensor:
            priors.append(Normal.from_raw(raw))
            return priors[-1].sample(arranged(eps[f"z{group}"]))

        return self.top_down(len(eps["z0"]), latent), priors

    def decode(self, eps: State) -> Decoded:
        """x, not clamped; log_det = Σ log σ over every z and log(σ / 2) over x."""
        head, priors = self.ancestral(eps)
        log_det = torch.stack([p.log_det() for p in priors]).sum(0) + head.log_det()
        return Decoded(head.sample(eps["x"]), log_det)

    def official_log_joint(self, eps: State) -> tuple[Tensor, Tensor]:
        """x clamped to [0, 1], and log p(z) + log p(x | z) with σ_x floored (see `heads`)."""
        head, priors = self.ancestral(eps)
        x, log_px = head.official(eps["x"])
        log_pz = torch.stack([p.log_prob_at(eps[f"z{g}"]) for g, p in enumerate(priors)]).sum(0)
        return x, log_pz + log_px
