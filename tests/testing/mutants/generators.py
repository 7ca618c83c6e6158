"""Generators that are wrong in one way each."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_toolkit.core import Autoencoder, Decoded, Elbo, Generator, RowStreams, randn_like


def normal(v: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log N(v; mean, std²) summed over each row."""
    log_prob = -0.5 * ((v - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
    return log_prob.flatten(1).sum(1)


class Healthy(Autoencoder):
    """z0 ~ N(0, I), z1 ~ N(μ(z0), σ(z0)²), x ~ N(μ(z), σ(z)²); q(z0|x) q(z1|x), all diagonal."""

    latent = 2

    def __init__(self, options, shape: tuple[int, ...]) -> None:
        super().__init__()
        size, n = math.prod(shape), self.latent
        self.shape = tuple(shape)
        self.groups = {"z0": (n,), "z1": (n,), "x": self.shape}
        self.encoder = nn.Sequential(
            nn.Linear(size, options.width), nn.SiLU(), nn.Linear(options.width, 4 * n)
        )
        self.prior = nn.Linear(n, 2 * n)
        self.decoder = nn.Sequential(
            nn.Linear(2 * n, options.width), nn.SiLU(), nn.Linear(options.width, 2 * size)
        )

    def conditional(self, z0: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = self.prior(z0).chunk(2, 1)
        return mean, F.softplus(raw) + 0.1

    def likelihood(self, z0: Tensor, z1: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = self.decoder(torch.cat([z0, z1], 1)).chunk(2, 1)
        return mean.unflatten(1, self.shape), (F.softplus(raw) + 0.1).unflatten(1, self.shape)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        m0, r0, m1, r1 = self.encoder(x.flatten(1)).chunk(4, 1)
        return m0, F.softplus(r0) + 0.1, m1, F.softplus(r1) + 0.1

    def log_dets(self, s1: Tensor, s: Tensor) -> Tensor:
        return s1.log().sum(1) + s.log().flatten(1).sum(1)

    def values(self, eps):
        m1, s1 = self.conditional(eps["z0"])
        z1 = m1 + s1 * eps["z1"]
        m, s = self.likelihood(eps["z0"], z1)
        return {"z0": eps["z0"], "z1": z1, "x": m + s * eps["x"]}

    def decode(self, eps):
        m1, s1 = self.conditional(eps["z0"])
        m, s = self.likelihood(eps["z0"], m1 + s1 * eps["z1"])
        return Decoded(m + s * eps["x"], self.log_dets(s1, s))

    def noise(self, values):
        m1, s1 = self.conditional(values["z0"])
        m, s = self.likelihood(values["z0"], values["z1"])
        eps = {"z0": values["z0"], "z1": (values["z1"] - m1) / s1, "x": (values["x"] - m) / s}
        return eps, Healthy.log_dets(self, s1, s)

    def draw(self, x, rng):
        m0, s0, m1, s1 = self.posterior(x)
        return m0 + s0 * randn_like(m0, rng), m1 + s1 * randn_like(m1, rng)

    def terms(self, x, rng):
        """log p(x|z), and KL of both groups, the second at the drawn z0: (B,) each."""
        m0, s0, m1, s1 = self.posterior(x)
        z0, z1 = self.draw(x, rng)
        p1, t1 = self.conditional(z0)
        kl0 = (0.5 * (m0.square() + s0.square() - 1) - s0.log()).sum(1)
        kl1 = ((t1 / s1).log() + (s1.square() + (m1 - p1).square()) / (2 * t1.square()) - 0.5).sum(1)
        return normal(x, *self.likelihood(z0, z1)), kl0, kl1

    def elbo(self, x, rng):
        log_px, kl0, kl1 = self.terms(x, rng)
        return Elbo(log_px, torch.stack([kl0, kl1], 1))

    def encode(self, x, rng):
        z0, z1 = self.draw(x, rng)
        return self.noise({"z0": z0, "z1": z1, "x": x})[0]

    def log_weight(self, x, rng):
        m0, s0, m1, s1 = self.posterior(x)
        z0, z1 = self.draw(x, rng)
        prior = normal(z0, torch.zeros_like(z0), torch.ones_like(z0)) + normal(z1, *self.conditional(z0))
        return normal(x, *self.likelihood(z0, z1)) + prior - normal(z0, m0, s0) - normal(z1, m1, s1)


class Negated(Healthy):
    """log |dε/dx| for log |dx/dε|."""

    def log_dets(self, s1, s):
        return -super().log_dets(s1, s)


class ForgetsGroup(Healthy):
    """Σ log σ of x alone."""

    def log_dets(self, s1, s):
        return s.log().flatten(1).sum(1)


class MeanLogDet(Healthy):
    def log_dets(self, s1, s):
        return s1.log().mean(1) + s.log().flatten(1).mean(1)


class Clamps(Healthy):
    """x is clamped, its log-determinant is that of before."""

    def decode(self, eps):
        x, log_det = super().decode(eps)
        return Decoded(x.clamp(0, 1), log_det)

    def values(self, eps):
        return {**super().values(eps), "x": self.decode(eps).x}


class NoisyMean(Healthy):
    def mean(self, eps):
        return self.decode(eps).x


class ColdMean(Healthy):
    """Its tempered twin forgets the temperature in the mean."""

    temperature = (1.0, 1.0)

    def tempered(self, latent, head):
        twin = copy.copy(self)
        twin.temperature = (latent[0], head)
        return twin

    def decode(self, eps):
        t, h = self.temperature
        scaled = {"z0": t * eps["z0"], "z1": t * eps["z1"], "x": h * eps["x"]}
        x, log_det = super().decode(scaled)
        return Decoded(x, log_det + 2 * self.latent * math.log(t) + math.prod(self.shape) * math.log(h))

    def mean(self, eps):
        return Healthy.decode(self, {**eps, "x": torch.zeros_like(eps["x"])}).x


class KlOfTheBatch(Healthy):
    def terms(self, x, rng):
        log_px, kl0, kl1 = super().terms(x, rng)
        return log_px, kl0.mean().expand_as(kl0), kl1.mean().expand_as(kl1)


class MeanLogPx(Healthy):
    """A mean over pixels, as loss functions have it by default."""

    def terms(self, x, rng):
        log_px, kl0, kl1 = super().terms(x, rng)
        return log_px / math.prod(self.shape), kl0, kl1


class KlWithoutEntropy(Healthy):
    """½ (μ² + σ² − 1) without − log σ."""

    def terms(self, x, rng):
        log_px, kl0, kl1 = super().terms(x, rng)
        return log_px, kl0 + self.posterior(x)[1].log().sum(1), kl1


class OneKl(Healthy):
    def elbo(self, x, rng):
        log_px, kl0, kl1 = self.terms(x, rng)
        return Elbo(log_px, (kl0 + kl1)[:, None])


class Turned(Healthy):
    """KL(p ‖ q) with its sign."""

    def elbo(self, x, rng):
        log_px, kl0, kl1 = self.terms(x, rng)
        return Elbo(log_px, -torch.stack([kl0, kl1], 1))


class FreshResidual(Healthy):
    """ε_x is drawn instead of computed from x."""

    def encode(self, x, rng):
        eps = super().encode(x, rng)
        return {**eps, "x": randn_like(eps["x"], rng)}


class EncodesLatents(Healthy):
    """z for ε: the second group is not standardised by its prior."""

    def encode(self, x, rng):
        z0, z1 = self.draw(x, rng)
        eps, _ = self.noise({"z0": z0, "z1": z1, "x": x})
        return {"z0": z0, "z1": z1, "x": eps["x"]}


class WeightWithoutPrior(Healthy):
    def log_weight(self, x, rng):
        m0, s0, m1, s1 = self.posterior(x)
        z0, z1 = self.draw(x, rng)
        return normal(x, *self.likelihood(z0, z1)) - normal(z0, m0, s0) - normal(z1, m1, s1)


class DeadGroup(Healthy):
    def likelihood(self, z0, z1):
        return super().likelihood(z0, 0 * z1)


class BatchStatistics(Healthy):
    """Normalises by the batch, in eval mode too."""

    def likelihood(self, z0, z1):
        mean, std = super().likelihood(z0, z1)
        return mean - mean.mean(0), std


class FrozenIsItself(Healthy):
    def frozen(self):
        return self.eval().requires_grad_(False)


class WrongInverse(Healthy):
    """The noise of z1 is not divided by its σ."""

    def noise(self, values):
        eps, log_det = super().noise(values)
        return {**eps, "z1": values["z1"] - self.conditional(values["z0"])[0]}, log_det


class InverseLogDet(Healthy):
    """noise returns log |dε/d(z, x)|."""

    def noise(self, values):
        eps, log_det = super().noise(values)
        return eps, -log_det


class GlobalPosterior(Healthy):
    def draw(self, x, rng):
        m0, s0, m1, s1 = self.posterior(x)
        return m0 + s0 * torch.randn_like(m0), m1 + s1 * torch.randn_like(m1)


class SharedPosterior(Healthy):
    """One noise for all rows of the batch."""

    def draw(self, x, rng):
        m0, s0, m1, s1 = self.posterior(x)
        rng = rng.rows[0] if isinstance(rng, RowStreams) else rng
        return m0 + s0 * randn_like(m0[0], rng), m1 + s1 * randn_like(m1[0], rng)


class MeanPosterior(Healthy):
    """Encodes to the mean and draws nothing."""

    def draw(self, x, rng):
        m0, _, m1, _ = self.posterior(x)
        return m0, m1


class XFirst(Healthy):
    def __init__(self, options, shape):
        super().__init__(options, shape)
        self.groups = {"x": self.groups.pop("x"), **self.groups}


class ConvertsInPlace(Healthy):
    def encode(self, x, rng):
        return super().encode(x.mul_(2).sub_(1), rng)


class WrongUnits(Healthy):
    """Converts to [−1, 1] on the way in, and not back on the way out."""

    def encode(self, x, rng):
        return super().encode(2 * x - 1, rng)


class StaysInTraining(Healthy):
    def recalibrate(self, passes, batch_size, rng, temperature=1.0):
        self.train()


class UnitsAveraged(Healthy):
    def kl_units(self, x, rng):
        return {"z0": self.elbo(x, rng).kl[:, :1].mean(0) / self.latent}


class DetachedNoise(Healthy):
    def decode(self, eps):
        return super().decode({**eps, "z0": eps["z0"].detach()})


class Half(Autoencoder):
    """Healthy, with one standard normal group; `coefficient` of the KL is 1."""

    coefficient = 1.0

    def __init__(self, options, shape):
        super().__init__()
        size = math.prod(shape)
        self.shape, self.groups = tuple(shape), {"z0": (2,), "x": tuple(shape)}
        self.encoder, self.decoder = nn.Linear(size, 4), nn.Linear(2, size)
        self.widen = nn.Linear(2, options.width)
        self.std = nn.Linear(options.width, size)

    def likelihood(self, z):
        return self.decoder(z).unflatten(1, self.shape), (
            F.softplus(self.std(F.silu(self.widen(z)))) + 0.1
        ).unflatten(1, self.shape)

    def posterior(self, x):
        mean, raw = self.encoder(x.flatten(1)).chunk(2, 1)
        return mean, F.softplus(raw) + 0.1

    def decode(self, eps):
        mean, std = self.likelihood(eps["z0"])
        return Decoded(mean + std * eps["x"], std.log().flatten(1).sum(1))

    def values(self, eps):
        return {"z0": eps["z0"], "x": self.decode(eps).x}

    def noise(self, values):
        mean, std = self.likelihood(values["z0"])
        return {"z0": values["z0"], "x": (values["x"] - mean) / std}, std.log().flatten(1).sum(1)

    def elbo(self, x, rng):
        mean, std = self.posterior(x)
        z = mean + std * randn_like(mean, rng)
        kl = (0.5 * (mean.square() + std.square() - 1) - std.log()).sum(1, keepdim=True)
        return Elbo(normal(x, *self.likelihood(z)), self.coefficient * kl)

    def encode(self, x, rng):
        mean, std = self.posterior(x)
        return self.noise({"z0": mean + std * randn_like(mean, rng), "x": x})[0]

    def log_weight(self, x, rng):
        mean, std = self.posterior(x)
        z = mean + std * randn_like(mean, rng)
        ratio = normal(z, torch.zeros_like(z), torch.ones_like(z)) - normal(z, mean, std)
        return normal(x, *self.likelihood(z)) + self.coefficient * ratio


class HalfTheKl(Half):
    """A β of ½ that both bounds have."""

    coefficient = 0.5


class Affine(Generator):
    """Healthy, without an encoder and without names for its latents."""

    def __init__(self, options, shape):
        super().__init__()
        self.shape, self.groups = tuple(shape), {"z0": (2,), "x": tuple(shape)}
        self.hidden = nn.Linear(2, options.width)
        self.out = nn.Linear(options.width, math.prod(shape))

    def decode(self, eps):
        mean = self.out(F.silu(self.hidden(eps["z0"]))).unflatten(1, self.shape)
        return Decoded(
            mean + 0.1 * eps["x"],
            torch.full_like(mean.flatten(1)[:, 0], math.prod(self.shape) * math.log(0.1)),
        )
