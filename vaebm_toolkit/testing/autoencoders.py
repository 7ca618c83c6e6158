"""Claims about generators with an encoder: their bounds on log p(x), and ε of data."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vaebm_toolkit.core import Autoencoder, randn, square_norm
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.testing.claims import Claims, Fault, Skip
from vaebm_toolkit.testing.maps import GeneratorSubject
from vaebm_toolkit.testing.measure import (
    EQUAL,
    SIGMAS,
    difference,
    mean_and_error,
    no_global_randomness,
    rows_of_streams,
    same_bits,
)
from vaebm_toolkit.testing.networks import per_shape
from vaebm_toolkit.testing.subject import Shape

ENCODER = Claims()
EXAMPLES = 4
PRIOR = 20_000
"""Samples of the prior, and of the posterior, for log p(x)."""
PILOT = 500
"""As many show whether the prior reaches an example at all."""


def with_encoder(
    check: Callable[[GeneratorSubject, Shape, Autoencoder], str | None],
) -> Callable[[GeneratorSubject], str | None]:
    """The claim for each shape, of generators that can encode; Skip of others."""

    @functools.wraps(check)
    def of_autoencoder(s: GeneratorSubject, shape: Shape) -> str | None:
        module = s.module(shape)
        if not isinstance(module, Autoencoder):
            raise Skip("It has no encoder.")
        return check(s, shape, module)

    return per_shape(of_autoencoder)


def examples(s: GeneratorSubject, shape: Shape, module: Autoencoder, n: int) -> Tensor:
    """Data that the model has a likelihood of: as they are, or binary."""
    x = s.data(shape, n)
    for candidate in (x, (x > 0.5).to(x)):
        try:
            module.check_data(candidate)
        except ToolkitError:
            continue
        return candidate
    raise Skip("Its check_data refuses ordinary and binary data.")


def repeated(s: GeneratorSubject, shape: Shape, module: Autoencoder) -> Tensor:
    """EXAMPLES examples, each often enough for a mean over the posterior: 200 times an image."""
    times = 200 if len(shape) == 3 else 3000
    return examples(s, shape, module, EXAMPLES).repeat_interleave(times, 0)


def draws(s: GeneratorSubject, shape: Shape) -> Mapping[str, Tensor]:
    """Independent values of both bounds for each example, (N, draws), and KL terms, (N, draws, G)."""
    if shape in s.bounds:
        return s.bounds[shape]
    module: Autoencoder = s.module(shape)
    many = repeated(s, shape, module)
    with torch.no_grad():
        elbo, weight = module.elbo(many, s.rng("elbo")), module.log_weight(many, s.rng("weight"))
    n = (EXAMPLES, -1)
    s.bounds[shape] = {
        "elbo": (elbo.log_px - elbo.kl.sum(1)).view(n),
        "log_weight": weight.view(n),
        "kl": elbo.kl.view(*n, elbo.kl.shape[1]),
    }
    return s.bounds[shape]


@ENCODER.add
@with_encoder
def elbo_has_a_term_for_each_group(s: GeneratorSubject, shape: Shape, module: Autoencoder) -> str | None:
    """log_px is (B,), kl is (B, G), both finite; no group's mean KL is negative."""
    x = examples(s, shape, module, 6)
    elbo = module.elbo(x, s.rng("elbo"))
    groups = [name for name in module.groups if name != "x"]
    for name, value, form in (("log_px", elbo.log_px, (6,)), ("kl", elbo.kl, (6, len(groups)))):
        if value.shape != form:
            raise Fault(
                f"{name} of 6 examples has shape {tuple(value.shape)}",
                f"{form}: one for each example" + (f" and each of {groups}" if form[1:] else ""),
                "Sum over each group: torch.stack([k.flatten(1).sum(1) for k in kl], 1).",
            )
        if not torch.isfinite(value).all():
            raise Fault(f"{name} is not finite", "finite nats", "Keep σ away from 0: softplus(…) + 1e-4.")
    found = draws(s, shape)["kl"]
    for g, name in enumerate(groups):
        for i in range(EXAMPLES):
            mean, error = mean_and_error(found[i, :, g])
            if mean < -SIGMAS * error - 1e-6:
                raise Fault(
                    f'the KL of group "{name}" is {mean:.4g} ± {error:.2g} nats',
                    "0 or more",
                    "KL(q ‖ p) = log σ_p/σ_q + (σ_q² + (μ_q − μ_p)²) / (2 σ_p²) − ½",
                )
    return f"{len(groups)} groups"


@ENCODER.add
@with_encoder
def both_bounds_agree(s: GeneratorSubject, shape: Shape, module: Autoencoder) -> str | None:
    """For each example, the mean of log_px − Σ kl is that of log_weight, in standard errors."""
    found, worst = draws(s, shape), 0.0
    for i in range(EXAMPLES):
        (a, error_a), (b, error_b) = (mean_and_error(found[name][i]) for name in ("elbo", "log_weight"))
        error = math.hypot(error_a, error_b) + 1e-6 * abs(a)
        worst = max(worst, abs(a - b) / error)
        if not abs(a - b) <= SIGMAS * error:
            raise Fault(
                f"for one example the mean of log_px − Σ kl is {a:.5g} ± {error_a:.2g}, "
                f"that of log_weight {b:.5g} ± {error_b:.2g}",
                "the same: both are E_q[log p(x, z) − log q(z|x)]",
                "Sum log p over all values, average neither over batch nor dimensions; log q at the drawn z.",
            )
    return f"largest deviation {worst:.2g} standard errors"


@ENCODER.add
@with_encoder
def weights_give_the_density(s: GeneratorSubject, shape: Shape, module: Autoencoder) -> str | None:
    """The mean of exp(log_weight) is p(x) as samples of the prior give it, up to one constant."""
    if math.prod(shape) > 16:
        raise Skip("Samples of the prior seldom come near data of so many values.")
    x = examples(s, shape, module, 8)
    latent = [name for name in module.groups if name != "x"]
    if len(latent) != 1 or not module.invertible:
        raise Skip("Its latents are not one group with an inverse.")
    z = latent[0]
    eps = {z: randn((PRIOR, *module.groups[z]), s.rng("prior"))}
    with torch.no_grad():
        for_data = randn((PILOT, *module.groups["x"]), s.rng("x"))
        if difference(module.values({z: eps[z][:PILOT], "x": for_data})[z], eps[z][:PILOT]):
            raise Skip("Its latents are not standard normal.")
        gaps = []
        for i, one in enumerate(x):
            # log p(x|z) = log N(ε_x; 0, I) − log |dx/dε_x|, z = ε_z ~ N(0, I)
            def by_prior(draws: int, one: Tensor = one) -> tuple[float, float, float]:
                noise, log_det = module.noise({z: eps[z][:draws], "x": one.expand(draws, *shape)})
                return log_mean_exp(-0.5 * square_norm({"x": noise["x"]}) - log_det)

            if by_prior(PILOT)[2] < 1000 * PILOT / PRIOR / 5:
                continue  # far from the 1000 that the comparison needs
            a, error_a, n_a = by_prior(PRIOR)
            b, error_b, n_b = log_mean_exp(
                module.log_weight(one.expand(PRIOR, *shape), s.rng("posterior", i))
            )
            if min(n_a, n_b) > 1000:
                gaps.append((b - a, math.hypot(error_a, error_b)))
    if len(gaps) < 3:
        raise Skip("Prior and data overlap too little for a comparison.")
    weight = torch.tensor([1 / error**2 for _, error in gaps])
    gap = torch.tensor([g for g, _ in gaps])
    z_scores = (gap - (weight * gap).sum() / weight.sum()) * weight.sqrt()
    worst = float(z_scores.abs().max())
    if not worst <= SIGMAS:
        raise Fault(
            "log p(x) by log_weight, minus that by samples of the prior, varies between examples from "
            f"{float(gap.min()):.4g} to {float(gap.max()):.4g} nats ({worst:.3g} standard errors)",
            "one constant: the units of the density",
            "log_weight = log p(x|z) + log p(z) − log q(z|x), each summed, the KL with coefficient 1.",
        )
    return f"largest deviation {worst:.2g} standard errors"


def log_mean_exp(values: Tensor) -> tuple[float, float, float]:
    """log mean exp, its standard error, and the number of values that count, (Σw)² / Σw²."""
    shift = values.max()
    w = (values - shift).exp()
    mean, error = mean_and_error(w)
    return math.log(mean) + float(shift), error / mean, float(w.sum().square() / w.square().sum())


@ENCODER.add
@with_encoder
def data_come_back_from_their_noise(s: GeneratorSubject, shape: Shape, module: Autoencoder) -> str | None:
    """encode(x) is ε, by the names of `groups`, and decode(encode(x)).x is x again."""
    x = examples(s, shape, module, 6)
    kept = x.clone()
    eps = module.encode(x, s.rng("encode"))
    if [(k, tuple(v.shape[1:])) for k, v in eps.items()] != list(module.groups.items()):
        shapes = ", ".join(f"{k} {tuple(v.shape)}" for k, v in eps.items())
        raise Fault(f"encode gives {shapes}", f"the groups {dict(module.groups)}", "{…, 'x': ε_x}")
    off = difference(module.decode(eps).x, x)
    if off > 1e-5:
        raise Fault(
            f"decode(encode(x)).x differs from x by {off:.2g} of its size",
            "x: ε_x carries what the latents do not",
            "Return noise(z, x): ε_g = (z_g − μ_g) / σ_g under the prior, ε_x = (x − μ_x) / σ_x.",
        )
    if not same_bits(x, kept):
        raise Fault("encode writes into its data", "the data as they were", "x = 2 * x − 1, not x.mul_(2).")
    return None


@ENCODER.add
@with_encoder
def encoding_is_row_by_row(s: GeneratorSubject, shape: Shape, module: Autoencoder) -> str | None:
    """elbo, encode and log_weight draw from `rng` alone, and with core.RowStreams row by row."""
    x = examples(s, shape, module, 5)

    def values(chosen: Tensor, stream: Callable[[], torch.Generator]) -> dict[str, Tensor]:
        elbo = module.elbo(chosen, stream())
        eps = module.encode(chosen, stream())
        return {
            "elbo": torch.cat([elbo.log_px[:, None], elbo.kl], 1),
            "encode": torch.cat([v.flatten(1) for v in eps.values()], 1),
            "log_weight": module.log_weight(chosen, stream())[:, None],
        }

    with no_global_randomness("elbo, encode or log_weight"):
        first, again = values(x, lambda: s.rng("a")), values(x, lambda: s.rng("a"))
        other = values(x, lambda: s.rng("b"))
    for name in first:
        if difference(first[name], again[name]) > 0:
            raise Fault(f"{name} differs with the same stream", "the same", "Keep nothing between calls.")
        if difference(first[name], other[name]) == 0:
            raise Fault(f"{name} is the same with another stream", "a sample of the posterior", "Use `rng`.")
    whole = values(x, lambda: rows_of_streams(5))
    for start, n in ((0, 1), (2, 2)):
        part = values(x[start : start + n], lambda start=start, n=n: rows_of_streams(n, first=start))
        for name in whole:
            off = difference(part[name], whole[name][start : start + n])
            if off > EQUAL:
                raise Fault(
                    f"{name} of an example changes by {off:.2g} of its size with the batch it is in",
                    "no change",
                    "Draw with core.randn_like(v, rng), and average nothing over the batch.",
                )
    return None
