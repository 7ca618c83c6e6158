"""Claims about what a sampler draws from: measured on densities whose law is known."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

import torch
from torch import Tensor

from vaebm_toolkit.core import Sampler, State, run_chain, square_norm, stream
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.options import fields
from vaebm_toolkit.testing.claims import Claims, Fault, Skip
from vaebm_toolkit.testing.kernels import SamplerSubject
from vaebm_toolkit.testing.measure import SIGMAS, mean_and_error
from vaebm_toolkit.testing.probing import alternatives

LAW = Claims()
PRECISIONS = [10.0**k for k in range(-2, 9)]
WIDTHS = [10.0 ** (k / 2) for k in range(-8, 5)]
MIXING = 32
"""Steps within which a chain must forget 9/10 of where it started, for its law to be measured."""


def split(sampler: Sampler, v: Tensor) -> State:
    """(B, D) as a state of the sampler's space."""
    return {"x": v} if sampler.space == "data" else {"z0": v[:, :1], "x": v[:, 1:]}


def joined(state: State) -> Tensor:
    return torch.cat([v.flatten(1) for v in state.values()], 1)


@functools.lru_cache(maxsize=8)
def memories(sampler: Sampler) -> dict[float, tuple[float, float]]:
    """What `memory` finds of each precision: powers of ten, and halves where mixing begins or ends."""
    found = {p: memory(sampler, p) for p in PRECISIONS}
    mixing = [p for p in PRECISIONS if abs(found[p][0]) < 0.1]
    if mixing:
        found |= {p: memory(sampler, p) for p in (mixing[0] / 10**0.5, mixing[-1] * 10**0.5)}
    return dict(sorted(found.items()))


def memory(sampler: Sampler, precision: float) -> tuple[float, float]:
    """The share of a start two standard deviations out that is left after MIXING steps.

    And its standard error; (inf, 0) where the chain explodes.
    """
    start = torch.full((200, 4), 2 / precision**0.5)
    start[::2] *= -1  # from either side, so that a constant drift is no memory
    rng = stream(0, "memory", f"{precision:g}")
    end = joined(run_chain(sampler, split(sampler, start), gaussian(precision), rng, MIXING))
    left, error = mean_and_error((end / start).mean(1).view(-1, 2).mean(1))
    return (left, error) if abs(left) < 1e6 else (float("inf"), 0.0)


def gaussian(precision: float) -> Callable[[State], Tensor]:
    """log density −λ ‖v‖² / 2"""
    return lambda state: -precision / 2 * square_norm(state)


@LAW.add
def climbs(s: SamplerSubject) -> str | None:
    """From far out, chains come towards where the density is high, on Gaussians of some width."""
    found = memories(s.sampler)
    if any(left < 1 - SIGMAS * error for left, error in found.values()):
        least = min(found, key=lambda p: abs(found[p][0]))
        return f"{abs(found[least][0]):.1g} of a start is left after {MIXING} steps at precision {least:.2g}"
    away = [p for p, (left, error) in found.items() if left > 1 + SIGMAS * error]
    if not away:
        raise Skip("Its drift cannot be told from its noise on Gaussians of any width.")
    raise Fault(
        f"from two standard deviations out chains move away on a Gaussian of precision {away[0]:.2g}, "
        "and towards the mode on none",
        "chains that come nearer to the mode",
        "Follow the gradient of the log density upwards, + (η/2) · score; mind the sign.",
    )


@LAW.add
def stationary_variance_is_as_claimed(s: SamplerSubject) -> str | None:
    """Long chains on Gaussians have mean 0 and the variance of `stationary_variance`."""
    claims = any(s.sampler.stationary_variance(p) is not None for p in PRECISIONS)
    for words, sampler in [("", s.sampler)] if claims else variants(s):
        if all(sampler.stationary_variance(p) is None for p in PRECISIONS):
            continue
        mixing = [p for p, (left, _) in memories(sampler).items() if abs(left) < 0.1]
        claimed = [p for p in mixing if sampler.stationary_variance(p) is not None]
        if not claimed:
            continue
        chosen = sorted({claimed[0], claimed[-1]})
        for precision in chosen:
            law(s, sampler, precision, words)
        return f"at precisions {', '.join(f'{p:.2g}' for p in chosen)}{words}"
    if any(s.sampler.stationary_variance(10.0**k) is not None for k in range(-4, 9)):
        raise Fault(
            f"it claims a variance, and on no Gaussian do its chains forget their start in {MIXING} steps",
            "a claim that can be measured",
            "Give options with which it mixes: Component(example={…}), or options={…} here, with a larger "
            "step or more friction.",
        )
    raise Skip("It claims no variance.")


def variants(s: SamplerSubject) -> Iterator[tuple[str, Sampler]]:
    """The sampler with one option changed: some claims are made only then."""
    cls = s.component.options
    for key, f in fields(cls).items():
        for value in alternatives(cls, f, getattr(s.options(), key)):
            try:
                other: Sampler = s.build({**s.table, key: value}, bounds=None)
            except ToolkitError:
                continue
            yield f" with {key} = {'none' if value is None else value}", other


def law(s: SamplerSubject, sampler: Sampler, precision: float, words: str) -> None:
    """Mean and variance of 3,000 independent chains against the claim, in standard errors."""
    variance = sampler.stationary_variance(precision)
    assert variance is not None
    end = joined(
        run_chain(
            sampler,
            split(sampler, torch.zeros(3000, 4)),
            gaussian(precision),
            s.rng("law", f"{precision:g}"),
            4 * MIXING,
        )
    )
    for name, values, truth in (
        ("mean", end.mean(1), 0.0),
        ("variance", end.square().mean(1), variance),
    ):
        found, error = mean_and_error(values)
        if not abs(found - truth) <= SIGMAS * error + 1e-3 * variance * (name == "variance"):
            raise Fault(
                f"on U = {precision:.3g} · v² / 2 the {name} of long chains is {found:.4g} ± {error:.2g}"
                f"{words}",
                f"{truth:.4g}, as stationary_variance says",
                "Compare the noise's scale with the step: √η beside (η/2) · score. Without a Metropolis test "
                "it is 1 / (λ (1 − ηλ/4)). Or claim nothing: return None.",
            )


Target = tuple[Callable[[int, torch.Generator], Tensor], Callable[[Tensor], Tensor]]
"""Exact draws (n, D), and their log density (n,)."""


def mixture() -> Target:
    """0.7 N(−1, 0.5²) + 0.3 N(1.5, 1) on the line: neither symmetric nor of one width."""
    weight, mean, std = torch.tensor([0.7, 0.3]), torch.tensor([-1.0, 1.5]), torch.tensor([0.5, 1.0])

    def draw(n: int, rng: torch.Generator) -> Tensor:
        k = (torch.rand(n, 1, generator=rng) > 0.7).long()
        return mean[k] + std[k] * torch.randn(n, 1, generator=rng)

    def log_prob(v: Tensor) -> Tensor:
        return torch.logsumexp(weight.log() - std.log() - 0.5 * ((v - mean) / std).square(), 1)

    return draw, log_prob


def banana() -> Target:
    """u ~ N(0, 1), w ~ N(u² / 2, 0.5²) in the plane: two groups that depend on each other."""

    def draw(n: int, rng: torch.Generator) -> Tensor:
        u, noise = torch.randn(2, n, generator=rng)
        return torch.stack([u, u.square() / 2 + 0.5 * noise], 1)

    def log_prob(v: Tensor) -> Tensor:
        u, w = v.unbind(1)
        return -0.5 * u.square() - 2 * (w - u.square() / 2).square()

    return draw, log_prob


def features(v: Tensor) -> dict[str, Tensor]:
    """Bounded functions of a position, (n,) each; the first is constant."""
    u, w = v[:, 0], v[:, -1]
    found = {"1": torch.ones_like(u), "tanh u": u.tanh(), "sin 2u": (2 * u).sin(), "u > 0.5": (u > 0.5).to(u)}
    if v.shape[1] > 1:
        r = w - u.square() / 2  # what ties the groups together
        found |= {"tanh w": w.tanh(), "exp −r²": (-r.square()).exp(), "u tanh r": u.tanh() * r.tanh()}
    return found


@LAW.add
def keeps_its_density_reversibly(s: SamplerSubject) -> str | None:
    """Where it claims `reversible`: from exact draws v, E[a(v) b(v′) − b(v) a(v′)] = 0 for all a and b."""
    words, sampler = next(((w, v) for w, v in [("", s.sampler), *variants(s)] if v.reversible), ("", None))
    if sampler is None:
        raise Skip("It does not claim to be reversible.")
    worst = None
    for name, target in {"a mixture on the line": mixture(), "a banana": banana()}.items():
        found = {w: balance(s, sampler, target, w, 20_000) for w in WIDTHS}
        moving = [w for w in WIDTHS if found[w]]
        if not moving:
            continue
        # the width where it looks worst, with new and with more draws
        width = max(moving, key=lambda w: max(map(abs, found[w].values())))
        z = balance(s, sampler, target, width, 300_000)
        (a, b), value = max(z.items(), key=lambda item: abs(item[1]))
        worst = max(worst or 0.0, abs(value))
        if not abs(value) <= SIGMAS:
            broken = f"the mean of {b} moves" if a == "1" else f"{a} and {b} are not in balance"
            raise Fault(
                f"after one step from exact draws of {name} of width {width:.2g}, {broken}, "
                f"by {value:.3g} standard errors{words}",
                f"at most {SIGMAS:g}: a reversible kernel keeps its density",
                "Accept each row, all its groups together, with min(1, π(v′) q(v|v′) / (π(v) q(v′|v))); or "
                "claim reversible = False.",
            )
    if worst is None:
        raise Skip("It stays where it is on densities of every width that was tried.")
    return f"largest deviation {worst:.2g} standard errors{words}"


def balance(
    s: SamplerSubject, sampler: Sampler, target: Target, width: float, n: int
) -> Mapping[tuple[str, str], float]:
    """z-scores of E[a(v) b(v′) − b(v) a(v′)] for the density stretched by `width`; {} where nothing moves."""
    draw, log_prob = target
    rng = s.rng("balance", f"{width:g}", n)
    before = draw(n, rng)
    start = split(sampler, before * width) if before.shape[1] > 1 else {"x": before * width}
    end = run_chain(sampler, start, lambda state: log_prob(joined(state) / width), rng, 1)
    after = joined(end) / width
    if not (after - before).abs().mean() > 0.01:
        return {}
    one, two = features(before), features(after)
    found = {}
    for a, b in combinations(one, 2):
        mean, error = mean_and_error(one[a] * two[b] - one[b] * two[a])
        found[a, b] = mean / error if error > 0 else 0.0
    return found
