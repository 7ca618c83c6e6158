"""Discretised logistics: a logistic density whose mass is gathered on the 2^bits values of an image.

In y = 2x − 1 ∈ [−1, 1] with K = 2^bits − 1, the value y has the mass of [y − 1/K, y + 1/K]; the first and
the last value have the tails as well (PixelCNN++, Salimans et al., ICLR 2017, section 2.1).

The released NVAE code differs in four places, all of them `official`: values above 0.99 count as the last
one (so that with 8 bits the last but one gets its tail too, and the masses add up to more than 1), samples
are not rounded to values, temperature t multiplies the noise by 1/t, and the mean of a mixture couples
averaged colours by averaged coefficients.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebm_nvae.heads import Head
from vaebm_toolkit.core import rand

LOG_SCALE_FLOOR = -7.0
EDGE = 1e-5
"""Uniform noise is kept this far from 0 and 1, as in the released code."""


class DiscretisedLogistic(Head):
    """One discretised logistic per pixel and colour. mean, log_scale: (B, C, H, W) in y."""

    def __init__(
        self, mean: Tensor, log_scale: Tensor, bits: int, official: bool, temperature: float = 1.0
    ) -> None:
        self.centre, self.log_scale = mean, log_scale.clamp(min=LOG_SCALE_FLOOR)
        self.top, self.official, self.temperature = 2**bits - 1, official, temperature

    def scale(self) -> Tensor:
        """Scale of the noise at the head's temperature."""
        t = self.temperature
        return torch.exp(self.log_scale) * (1 / t if self.official else t)

    def sample(self, eps: Tensor) -> Tensor:
        y = self.centre + self.scale() * torch.logit(kept_uniform(eps))
        return self.rounded(y) / 2 + 0.5

    def rounded(self, y: Tensor) -> Tensor:
        """y within [−1, 1], at the nearest value of an image."""
        y = y.clamp(-1, 1)
        if self.official:
            return y
        return torch.round((y / 2 + 0.5) * self.top) / self.top * 2 - 1

    def mean(self) -> Tensor:
        return self.centre.clamp(-1, 1) / 2 + 0.5

    def noise(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Uniform among the noise that gives x: a value's width, and the tails at both ends."""
        y, scale = 2 * x - 1, self.scale()
        half = 0.0 if self.official else 1 / self.top
        lower, upper = (torch.sigmoid((y + d - self.centre) / scale) for d in (-half, half))
        lower = torch.where(y < -0.999, torch.zeros_like(lower), lower)
        upper = torch.where(y > 0.999, torch.ones_like(upper), upper)
        return noise_of_uniform(lower + (upper - lower) * rand(lower.shape, rng, like=lower))

    def log_prob(self, x: Tensor) -> Tensor:
        return self.log_mass(2 * x - 1).flatten(1).sum(1)

    def log_mass(self, y: Tensor) -> Tensor:
        """log P(y) of each value by itself, of the shape of y and the parameters together."""
        inverse, half = torch.exp(-self.log_scale), 1 / self.top
        offset = y - self.centre
        upper, lower, middle = (inverse * (offset + d) for d in (half, -half, 0.0))
        width = torch.sigmoid(upper) - torch.sigmoid(lower)
        # log of the density at the middle times the width of a value, where the difference underflows
        narrow = middle - self.log_scale - 2 * F.softplus(middle) - torch.log(0.5 * y.new_tensor(self.top))
        inner = torch.where(width > 1e-5, torch.log(width.clamp(min=1e-10)), narrow)
        last = 0.99 if self.official else 0.999
        inner = torch.where(y > last, -F.softplus(lower), inner)
        return torch.where(y < -0.999, upper - F.softplus(upper), inner)


class LogisticMixture(Head):
    """A mixture of M discretised logistics per pixel; green depends on red, blue on both.

    raw: (B, M + C·(2 + coefficients)·M, H, W): the mixture's logits, then for each of C = 3 colours
    M means, M log scales and M coefficients (a tanh later); for C = 1 there are no coefficients.
    The means of green and blue are μ_G + c₀ R and μ_B + c₁ R + c₂ G, within a component.
    """

    def __init__(
        self, raw: Tensor, colours: int, mixtures: int, bits: int, official: bool, temperature: float = 1.0
    ) -> None:
        self.logits = raw[:, :mixtures]
        own = raw[:, mixtures:].unflatten(1, (colours, -1, mixtures)).transpose(1, 2)
        self.means, self.log_scales = own[:, 0], own[:, 1]  # (B, C, M, H, W)
        self.coefficients = torch.tanh(own[:, 2]) if colours == 3 else None  # (B, 3, M, H, W)
        self.bits, self.official, self.temperature = bits, official, temperature

    def component(self, means: Tensor, log_scales: Tensor) -> DiscretisedLogistic:
        return DiscretisedLogistic(means, log_scales, self.bits, self.official, self.temperature)

    def coupled(self, y: Tensor) -> Tensor:
        """Means (B, C, M, H, W) of every component, given the colours y (B, C, H, W) before each."""
        if self.coefficients is None:
            return self.means
        red, green = y[:, 0:1], y[:, 1:2]
        c = self.coefficients
        of_green = c[:, 0] * red
        shift = [torch.zeros_like(of_green), of_green, c[:, 1] * red + c[:, 2] * green]
        return self.means + torch.stack(shift, dim=1)

    def log_joint(self, y: Tensor) -> Tensor:
        """log π_m + Σ_c log P(y_c | m), (B, M, H, W)."""
        mass = self.component(self.coupled(y), self.log_scales).log_mass(y[:, :, None])
        return mass.sum(1) + F.log_softmax(self.logits, dim=1)

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.logsumexp(self.log_joint(2 * x - 1), dim=1).flatten(1).sum(1)

    def chosen(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Means, log scales and coefficients (B, C, H, W) of the component `index` (B, H, W)."""
        where = index[:, None, None].expand(-1, self.means.shape[1], 1, -1, -1)
        c = self.coefficients
        found = [None if v is None else v.gather(2, where)[:, :, 0] for v in (self.means, self.log_scales, c)]
        return found[0], found[1], found[2]

    def sample(self, eps: Tensor) -> Tensor:
        """The first M channels of noise choose a component (Gumbel-max), the others its colours."""
        mixtures = self.logits.shape[1]
        gumbel = -torch.log(-torch.log(kept_uniform(eps[:, :mixtures])))
        index = (self.logits / self.temperature + gumbel).argmax(1)
        means, log_scales, coefficients = self.chosen(index)
        head = self.component(means, log_scales)
        y = means + head.scale() * torch.logit(kept_uniform(eps[:, mixtures:]))
        return coupled_colours(y, coefficients, head.rounded) / 2 + 0.5

    def mean(self) -> Tensor:
        """E[x | z], without the tails' clamp; see the module's text for the released one."""
        weights = F.softmax(self.logits / self.temperature, dim=1)[:, None]
        c = self.coefficients
        if self.official:
            averaged = None if c is None else (weights * c).sum(2)
            y = coupled_colours((weights * self.means).sum(2), averaged, lambda v: v.clamp(-1, 1))
        else:
            y = self.means if c is None else coupled_colours(self.means, c, lambda v: v)
            y = (weights * y).sum(2).clamp(-1, 1)
        return y / 2 + 0.5

    def noise(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """A component from its posterior, Gumbel noise that would choose it, and its colours' noise."""
        y = 2 * x - 1
        joint = self.log_joint(y)
        index = (joint + gumbel_like(joint, rng)).argmax(1)
        gumbel = choosing(index, F.log_softmax(self.logits / self.temperature, dim=1), rng)
        where = index[:, None, None].expand(-1, self.means.shape[1], 1, -1, -1)
        means, log_scales = self.coupled(y).gather(2, where)[:, :, 0], self.chosen(index)[1]
        values = self.component(means, log_scales).noise(x, rng)
        return torch.cat([noise_of_uniform(torch.exp(-torch.exp(-gumbel))), values], dim=1)


def coupled_colours(y: Tensor, coefficients: Tensor | None, bounded: Callable[[Tensor], Tensor]) -> Tensor:
    """Red, then green + c₀ R, then blue + c₁ R + c₂ G, each `bounded` before the next uses it."""
    if coefficients is None:
        return bounded(y)
    c = coefficients
    red = bounded(y[:, 0])
    green = bounded(y[:, 1] + c[:, 0] * red)
    blue = bounded(y[:, 2] + c[:, 1] * red + c[:, 2] * green)
    return torch.stack([red, green, blue], dim=1)


def kept_uniform(eps: Tensor) -> Tensor:
    """Uniform noise in (1e-5, 1 − 1e-5) from standard normal noise."""
    return EDGE + (1 - 2 * EDGE) * torch.special.ndtr(eps)


def noise_of_uniform(u: Tensor) -> Tensor:
    """Undo `kept_uniform`; what lies outside its range becomes its nearest end."""
    inner = ((u - EDGE) / (1 - 2 * EDGE)).clamp(1e-6, 1 - 1e-6)
    return torch.special.ndtri(inner)


def gumbel_like(value: Tensor, rng: torch.Generator) -> Tensor:
    tiny = torch.finfo(value.dtype).tiny
    return -torch.log(
        -torch.log(rand(value.shape, rng, like=value).clamp(tiny, 1 - torch.finfo(value.dtype).eps))
    )


def choosing(index: Tensor, log_weights: Tensor, rng: torch.Generator) -> Tensor:
    """Gumbel noise (B, M, H, W) given that index (B, H, W) is the argmax of log_weights + noise.

    The largest sum is Gumbel-distributed, the others are Gumbels cut off there (Maddison et al.,
    A* sampling, NeurIPS 2014, section 3).
    """
    largest = gumbel_like(log_weights[:, :1], rng)
    free = log_weights + gumbel_like(log_weights, rng)
    below = -torch.log(torch.exp(-largest) + torch.exp(-free))
    chosen = torch.arange(log_weights.shape[1], device=index.device)[:, None, None] == index[:, None]
    return torch.where(chosen, largest, below) - log_weights
