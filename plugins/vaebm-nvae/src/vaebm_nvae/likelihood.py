"""Which head the options ask for, and what it needs of the network."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from vaebm_nvae.heads import BernoulliHead, GaussianHead, Head
from vaebm_nvae.logistics import DiscretisedLogistic, LogisticMixture
from vaebm_nvae.options import NVAEOptions


class HeadSettings(NamedTuple):
    """Which head the options ask for, and the shapes it needs."""

    options: NVAEOptions
    colours: int

    @property
    def channels(self) -> int:
        """Network outputs per pixel."""
        c, m = self.colours, self.options.mixtures
        couplings = c * (c - 1) // 2
        return {
            "gaussian": 2 * c,
            "logistic": 2 * c,
            "bernoulli": c,
            "logistic-mixture": m * (1 + 2 * c + couplings),
        }[self.options.head]

    @property
    def noise_channels(self) -> int:
        """Channels of ε_x: one per value, and one per component that may be chosen."""
        return self.colours + (self.options.mixtures if self.options.head == "logistic-mixture" else 0)

    def __call__(self, raw: Tensor, temperature: float = 1.0) -> Head:
        """The distribution that `raw`, (B, channels, H, W), describes."""
        o = self.options
        if o.head == "gaussian":
            return GaussianHead(raw, temperature, o.density_floor)
        if o.head == "bernoulli":
            return BernoulliHead(raw, temperature)
        official = o.logistic == "official"
        if o.head == "logistic":
            return DiscretisedLogistic(*raw.chunk(2, dim=1), o.bits, official, temperature)
        return LogisticMixture(raw, self.colours, o.mixtures, o.bits, official, temperature)
