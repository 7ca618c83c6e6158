"""The map from noise to image that a hierarchy of Gaussian latents defines, however it is computed."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vaebm_nvae.distributions import Normal
from vaebm_nvae.heads import Bounds, GaussianHead, Head
from vaebm_nvae.likelihood import HeadSettings
from vaebm_nvae.ops import arranged
from vaebm_nvae.options import NVAEOptions
from vaebm_nvae.recompute import recomputed
from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import Decoded, Generator, State, per_group

Latent = Callable[[int, Tensor, Tensor | None], Tensor]
"""(group g, raw prior parameters (B, 2L, H, W), decoder feature (None for g = 0)) -> z_g"""

WHY_NOT = {
    "bernoulli": "draws each value as 0 or 1",
    "logistic": "gathers the image on the values of its bits",
    "logistic-mixture": "chooses a component and gathers the image on the values of its bits",
}


class Hierarchy(Generator):
    """z_g = μ_g(z_<g) + σ_g(z_<g) ε_g, x = (μ(z) + σ(z) ε_x) / 2 + ½ (VAEBM, section 3.1).

    With another head than the Gaussian, x is the image that the head makes of ε_x.
    """

    temperatures: Sequence[float] = ()
    """Factor on σ_g per group; (): 1 for all."""
    head_temperature: float = 1.0

    def __init__(self, options: NVAEOptions, colours: int) -> None:
        super().__init__()
        self.options, self.head = options, HeadSettings(options, colours)

    @abstractmethod
    def features(self, batch: int, latent: Latent) -> Tensor:
        """Down the decoder, each group's z chosen by `latent`: the head's parameters, with padding."""

    def through(self, cell: nn.Module, h: Tensor) -> Tensor:
        """cell(h), its activations kept for the backward pass or computed again there (`recompute`)."""
        return recomputed(cell, h) if self.options.recompute else cell(h)

    def top_down(self, batch: int, latent: Latent) -> Head:
        """Down the decoder, each group's z chosen by `latent`; the image's distribution."""
        raw, pad = self.features(batch, latent), self.options.pad
        if pad:
            raw = raw[:, :, pad:-pad, pad:-pad]
        return self.head(raw, self.head_temperature)

    def prior(self, group: int, raw: Tensor) -> Normal:
        """p(z_g | z_<g) from the network's output; for group 0 there is none and `raw` is 0."""
        temperature = self.temperatures[group] if self.temperatures else 1.0
        if group == 0 and self.options.prior == "exact":
            return Normal.standard(raw, temperature)
        return Normal.from_raw(raw, temperature)

    def ancestral(self, eps: State) -> tuple[Head, list[Normal]]:
        """p(x | z) at z_g = μ_g + σ_g ε_g, and the priors met on the way; ε_x is not used."""
        priors: list[Normal] = []

        def latent(group: int, raw: Tensor, _: Tensor | None) -> Tensor:
            priors.append(self.prior(group, raw))
            return priors[-1].sample(arranged(eps[f"z{group}"]))

        return self.top_down(len(eps["z0"]), latent), priors

    def decode(self, eps: State) -> Decoded:
        """x, not clamped; log_det = Σ log σ over every z and log(σ / 2) over x (None if x is discrete)."""
        head, priors = self.ancestral(eps)
        log_det = head.log_det()
        if log_det is not None:
            log_det = torch.stack([p.log_det() for p in priors]).sum(0) + log_det
        return Decoded(head.sample(eps["x"]), log_det)

    def values(self, eps: State) -> State:
        z: State = {}

        def latent(group: int, raw: Tensor, _: Tensor | None) -> Tensor:
            name = f"z{group}"
            z[name] = self.prior(group, raw).sample(arranged(eps[name]))
            return z[name]

        head = self.top_down(len(eps["z0"]), latent)
        return {**z, "x": head.sample(eps["x"])}

    def noise(self, values: State) -> tuple[State, Tensor]:
        self.check_reparametrised()
        priors: list[Normal] = []

        def latent(group: int, raw: Tensor, _: Tensor | None) -> Tensor:
            priors.append(self.prior(group, raw))
            return arranged(values[f"z{group}"])

        head = self.top_down(len(values["z0"]), latent)
        assert isinstance(head, GaussianHead)
        eps = {f"z{g}": p.noise(values[f"z{g}"]) for g, p in enumerate(priors)}
        log_det = torch.stack([p.log_det() for p in priors]).sum(0) + head.log_det()
        return {**eps, "x": head.normal.noise(2 * values["x"] - 1)}, log_det

    def mean(self, eps: State) -> Tensor:
        """E[x | z] of the head."""
        return self.ancestral(eps)[0].mean()

    def check_reparametrised(self) -> None:
        name = self.options.head
        if name != "gaussian":
            raise RecipeError(
                f'generator.head: the head "{name}" {WHY_NOT[name]}, so x is not a differentiable function '
                "of noise and no chain in ε-space can follow an energy of x.",
                "Train the generator with --generator.head gaussian, or sample it alone: --trainer none",
            )

    def official_log_joint(self, eps: State, clamp: Bounds = (0.0, 1.0)) -> tuple[Tensor, Tensor]:
        """x within `clamp`, and log p(z) + log p(x | z) with σ_x floored (see `heads`)."""
        self.check_reparametrised()
        head, priors = self.ancestral(eps)
        assert isinstance(head, GaussianHead)
        x, log_px = head.official(eps["x"], clamp)
        log_pz = torch.stack([p.log_prob_at(eps[f"z{g}"]) for g, p in enumerate(priors)]).sum(0)
        return x, log_pz + log_px

    def tempered(self, latent: Sequence[float], head: float) -> Generator:
        """The same networks with σ_g multiplied by latent[g] (one number: by it), the head at `head`.

        A Gaussian head's σ and a logistic's scale are multiplied by the temperature, the logits of
        Bernoulli and mixture divided by it.
        """
        twin = copy.copy(self)
        twin.temperatures, twin.head_temperature = per_group(latent, len(self.groups) - 1), head
        return twin
