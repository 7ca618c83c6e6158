"""The log densities that samplers work on.

Latent space, VAEBM eq. 6: −U(ε) = −E(T(ε)) − ½‖ε‖². Data space: −E(x). Joint space: log p(z, x) − E(x).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vaebm_toolkit.core.interfaces import Bounds, Generator, LogDensity, Sampler, State, square_norm

Energy = Callable[[Tensor], Tensor]


def latent_density(generator: Generator, energy: Energy, clamp: Bounds = None) -> LogDensity:
    """log h(ε) = −E(T(ε)) − ½‖ε‖² + const, the paper's target (VAEBM, eq. 6).

    `clamp` bounds x = T(ε) before E sees it; saturated values then carry no gradient.
    """

    def log_density(eps: State) -> Tensor:
        x = generator.decode(eps).x
        if clamp is not None:
            x = x.clamp(*clamp)
        return -energy(x) - 0.5 * square_norm(eps)

    return log_density


def official_latent_density(generator: Generator, energy: Energy, clamp: Bounds = None) -> LogDensity:
    """−E(x) + log p(x, z) at (x, z) = T(ε): the target of the released VAEBM code.

    `clamp` bounds x before E and log p see it. The target differs from the paper's by −Σ log σ, the
    log-determinant of T, so with E = 0 its chain does not keep ε ~ N(0, I): on a two-group toy the
    mean of ε moves by up to 0.8.
    """

    def log_density(eps: State) -> Tensor:
        x, log_joint = generator.official_log_joint(eps, clamp)
        return log_joint - energy(x)

    return log_density


def joint_density(generator: Generator, energy: Energy, clamp: Bounds = None) -> LogDensity:
    """log h(z, x) = log p(z, x) − E(x) + const on states (z, x) (VAEBM, eq. 1).

    The same distribution as that of T(ε) under `latent_density`, but without reparametrisation: each
    group has its own scale σ, so no one step size suits all (VAEBM, appendix). `clamp` bounds the x
    that E sees.
    """

    def log_density(values: State) -> Tensor:
        eps, log_det = generator.noise(values)
        x = values["x"] if clamp is None else values["x"].clamp(*clamp)
        return -0.5 * square_norm(eps) - log_det - energy(x)

    return log_density


def data_density(energy: Energy) -> LogDensity:
    """log p(x) = −E(x) + const on states {"x": (B, ...)} (IGEBM)."""
    return lambda state: -energy(state["x"])


def target_density(sampler: Sampler, generator: Generator | None, energy: Energy) -> LogDensity:
    """The density that `sampler.space` and `sampler.target` ask for."""
    if sampler.space == "data" or generator is None:
        return data_density(energy)
    if sampler.space == "joint":
        return joint_density(generator, energy, sampler.bounds)
    if sampler.target == "official":
        return official_latent_density(generator, energy, sampler.bounds)
    return latent_density(generator, energy, sampler.bounds)
