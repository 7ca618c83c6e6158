"""The metric `likelihood`: log p_θ(x), log Z from both sides, and log h(x) of held-out examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaebm_toolkit.builtin.metrics import LikelihoodOptions
from vaebm_toolkit.core import Autoencoder, Dataset, Figure, Metric, Model, Split, State, frozen, stream
from vaebm_toolkit.core.densities import Energy
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.evaluation.annealing import Plan, sigmoidal, transitions
from vaebm_toolkit.evaluation.likelihood import Bound, bits_per_dim, bound_of, importance_weighted
from vaebm_toolkit.evaluation.likelihood import likelihood as bounds_of
from vaebm_toolkit.evaluation.likelihood import streams as row_streams
from vaebm_toolkit.evaluation.partition import Bounds, LogZ, by_samples, from_above, from_below
from vaebm_toolkit.evaluation.paths import DataNoise, Path, data_path, latent_path
from vaebm_toolkit.evaluation.pilot import tuned
from vaebm_toolkit.evaluation.product import Parts, product_likelihood

ROWS = 128  # examples, draws or chains computed at once; no figure depends on it
ENOUGH = 10  # effective weights, below which their spread is no standard error
AGAINST = {
    "log Z, upper": ("log h, lower", "bits/dim, upper"),
    "log Z, lower": ("log h, upper", "bits/dim, lower"),
}
"""Which figures a log Z is subtracted in."""
SEED = 0  # the same streams for every model: differences are the models'


class Likelihood(Metric):
    """Bounds on the mean log-likelihood in nats of the first examples; the samples play no part in it.

    Of h(x) = p_θ(x) exp(−E(x)) / Z; of p_θ where there is no energy; of exp(−E(x)) / Z where p_θ is no
    factor.
    """

    def __init__(self, options: LikelihoodOptions) -> None:
        self.options = options
        self.model: Model | None = None
        self.protocol: dict[str, Any] = {}

    def see(self, model: Model) -> None:
        self.model = model

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        assert self.model is not None, "see() comes first"
        model, o = self.model, self.options
        generator, energy = model.fitted
        with ExitStack() as held, torch.no_grad():
            for part in (generator, energy, model.autoencoder()):
                if part is not None:
                    held.enter_context(frozen(part))
            found = Found(min(o.examples, len(dataset.test)), math.prod(model.shape))
            test = Cast(dataset.test, model.like)
            log_px = None
            if generator is not None:
                log_px = of_generator(found, model.autoencoder(), test, o.draws)
            if energy is not None and o.log_z:
                clamped = within(energy, model)
                x = (test.batch(index) for index in torch.arange(found.examples).split(ROWS))
                energies = torch.cat([clamped(part).double().cpu() for part in x])
                if generator is None:  # no p_θ: h(x) = exp(−E(x)) / Z
                    found.facts["density"] = "density of x"
                    log_px = torch.zeros_like(energies)
                way = route(found, model, clamped, Cast(dataset.train, model.like))
                log_z = normaliser(found, way, o, model.like)
                if log_px is not None:
                    of_product(found, Parts(log_px, energies, found.facts["density"]), log_z)
        self.protocol = found.protocol
        return found.figures


class Cast(Split):
    """A split in the dtype and on the device of the networks."""

    def __init__(self, split: Split, like: Tensor) -> None:
        self.split, self.like = split, like

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        return self.split.batch(indices, rng).to(self.like)


class Found:
    """Figures as they come, and what must stand beside them."""

    def __init__(self, examples: int, dimensions: int) -> None:
        self.examples, self.dimensions = examples, dimensions
        self.figures: dict[str, float] = {}
        self.facts: dict[str, Any] = {"examples": examples}
        self.seen: dict[str, dict[str, Any]] = {}
        """what came out besides: no reason for two figures not to compare"""
        self.reading: dict[str, str] = {}
        """figure -> what it is not good for"""

    @property
    def protocol(self) -> dict[str, Any]:
        seen = {**self.seen, "reading": self.reading} if self.reading else self.seen
        return {**self.facts, "found": seen} if seen else self.facts

    def note(self, kind: str, side: str, value: Any) -> None:
        self.seen.setdefault(kind, {})[side] = value

    def add(self, name: str, value: float, error: float, ess: float = math.inf) -> None:
        """With an interval where its error means something; not at all where it is not finite."""
        if not math.isfinite(value):
            self.reading[name] = f"left out: it is {value}"
        elif ess >= ENOUGH and math.isfinite(error):
            self.figures[name] = Figure.within(value, error)
        else:
            self.figures[name] = Figure(value)

    def add_bits(self, name: str, bound: Bound, ess: float = math.inf) -> None:
        bits = bits_per_dim(bound.nats, self.dimensions)
        self.add(name, bits, bound.error / (math.log(2) * self.dimensions), ess)


def within(energy: Energy, model: Model) -> Energy:
    """E as chains in latent space see it: of x within the sampler's bounds."""
    bounds = None if model.sampler is None or model.in_data_space else model.sampler.bounds
    return energy if bounds is None else lambda x: energy(x.clamp(*bounds))


def of_generator(found: Found, model: Autoencoder | None, test: Split, draws: int) -> Tensor | None:
    """ELBO and importance-weighted bound; the latter of each example, (N,) nats, None where there is none."""
    if model is None:
        found.reading["log p"] = "none: the generator cannot encode"
        return None
    try:
        model.check_data(test.batch(torch.arange(min(ROWS, found.examples))))
    except ToolkitError as e:
        found.reading["log p"] = f"none: {e.message}"
        return None
    device = test.batch(torch.arange(1)).device
    elbo = bounds_of(
        model, test, examples=found.examples, weighted=0, draws=0, seed=SEED, batch_size=ROWS, device=device
    ).elbo
    log_px = importance_weighted(
        model, test, examples=found.examples, draws=draws, seed=SEED, batch_size=ROWS, device=device
    )
    found.facts.update({"draws": draws, "density": model.density})
    found.add("ELBO", elbo.nats, elbo.error)
    weighted = bound_of(log_px)
    found.add("log p", weighted.nats, weighted.error)
    found.add_bits("bits/dim", weighted)
    return log_px


class Route(NamedTuple):
    """How log Z can be reached."""

    path: Path
    starts: Callable[[Tensor], State] | None
    """numbers of reverse chains (B,) -> where they start from, before any transition"""
    available: int
    """how many such starts there are"""
    annealed: bool
    """whether log_ratio has a gradient"""


def route(found: Found, model: Model, energy: Energy, train: Split) -> Route:
    """From the prior where the generator is a factor, else from a base in data space.

    Reverse chains start at training examples, in an order of their own: files may be sorted by class.
    """
    like, generator = model.like, model.fitted.generator
    order = torch.randperm(len(train), generator=stream(SEED, "likelihood", "order"))
    starts: Callable[[Tensor], State] | None
    if generator is None:
        base = DataNoise(model.shape, model.bounds, 1.0 if model.bounds is not None else spread(train))
        path = data_path(energy, base, like)

        def starts(chains: Tensor) -> State:
            return base.noise(train.batch(order[chains]))
    else:
        path, encoder = latent_path(generator, energy, like), model.autoencoder()

        def encoded(chains: Tensor) -> State:
            assert encoder is not None
            rngs = row_streams(SEED, "encoded", chains, like.device)
            return encoder.encode(train.batch(order[chains]), rngs)

        starts = None if encoder is None else encoded
        if encoder is None:
            found.reading["log Z, upper"] = "none: the generator cannot encode what reverse chains start at"
    return Route(path, starts, len(train), differentiable(found, path, model))


def spread(train: Split) -> float:
    """The largest root mean square of a value, over the first 10,000 examples."""
    x = train.batch(torch.arange(min(len(train), 10_000)))
    return float(x.double().square().mean(0).max().sqrt())


def differentiable(found: Found, path: Path, model: Model) -> bool:
    """Whether chains can follow the path; if not, why."""
    try:
        if model.fitted.generator is not None:
            model.fitted.generator.check_reparametrised()
        path.point(path.sample_base(1, stream(SEED, "likelihood", "probe", device=model.like.device)), 1.0)
    except (ToolkitError, RuntimeError) as e:
        why = e.message if isinstance(e, ToolkitError) else "E(T(ε)) has no gradient in ε"
        found.reading["log Z, lower"] = f"none: {why}"
        return False
    return True


def normaliser(found: Found, way: Route, o: LikelihoodOptions, like: Tensor) -> Bounds:
    """log Z: by samples, and from both sides where there is a way."""
    common: dict[str, Any] = {"seed": SEED, "batch_size": ROWS, "device": like.device}
    naive = by_samples(way.path, o.samples, **common)
    found.facts["log Z"] = {"samples": o.samples}
    tell(found, "samples", naive)
    if not way.annealed:
        return Bounds(naive, None)
    pilot = stream(SEED, "likelihood", "pilot", device=like.device)
    plan = tuned(way.path, sigmoidal(o.temperatures), pilot, leapfrog=o.leapfrog)
    lower, upper = from_below(way.path, plan, o.chains, **common), None
    found.facts["log Z"].update(temperatures=o.temperatures, chains=o.chains, leapfrog=o.leapfrog)
    tell(found, "lower", lower)
    if way.starts is not None:
        chains = torch.arange(min(o.chains, way.available))
        starts, accepted = settled(way, plan, chains, o.transitions, like)
        upper = from_above(way.path, plan, starts, **common)
        found.facts["log Z"]["transitions"] = o.transitions
        tell(found, "upper", upper)
        found.note("acceptance", "starts", f"{accepted:.2f}")
    log_z = Bounds(lower, upper)
    if upper is not None and log_z.gap < -2 * math.hypot(lower.error, upper.error):
        found.reading["log Z, upper"] = "upper bound below the lower one: its starts are no samples of h"
    return log_z


def settled(way: Route, plan: Plan, chains: Tensor, moves: int, like: Tensor) -> tuple[State, float]:
    """Where chains on h end after `moves` transitions, and their mean acceptance."""
    assert way.starts is not None
    ends, rate = [], 0.0
    for part in chains.split(ROWS):
        point = way.path.point(way.starts(part), 1.0)
        rng = row_streams(SEED, "starts", part, like.device)
        point, accepted = transitions(
            way.path, point, 1.0, plan.step_sizes[-1], plan.leapfrog, moves, rng
        )  # fmt: skip
        ends.append(point.state)
        rate += float(accepted) * len(part) / len(chains)
    return {name: torch.cat([end[name] for end in ends]) for name in ends[0]}, rate


def tell(found: Found, side: str, z: LogZ) -> None:
    name = f"log Z, {side}"
    found.add(name, z.value, z.error, z.ess)
    found.note("ess", side, round(z.ess, 1))
    if z.ess < ENOUGH:
        weights = "one effective weight" if z.ess < 1.5 else f"{z.ess:.1f} effective weights"
        found.reading.setdefault(name, f"{weights}: a bound, no estimate")
    if z.without:
        found.note("without finite energy", side, z.without)
    if z.acceptance is not None and len(z.acceptance):
        low, high = float(z.acceptance.min()), float(z.acceptance.max())
        found.note("acceptance", side, f"{low:.2f} to {high:.2f}")


def of_product(found: Found, parts: Parts, log_z: Bounds) -> None:
    """log h(x) = log p_θ(x) − E(x) − log Z from both sides, each with the weights of its log Z."""
    product = product_likelihood(parts, log_z)
    if product.lower is not None:
        assert log_z.upper is not None
        found.add("log h, lower", product.lower.nats, product.lower.error, log_z.upper.ess)
        found.add_bits("bits/dim, upper", product.lower, log_z.upper.ess)
    found.add("log h, upper", product.upper.nats, product.upper.error, log_z.lower.ess)
    found.add_bits("bits/dim, lower", product.upper, log_z.lower.ess)
    for z, figures in AGAINST.items():
        for name in figures:
            if z in found.reading and name in found.figures:
                found.reading[name] = f"as {z}: {found.reading[z]}"


def likelihood(options: LikelihoodOptions) -> Metric:
    return Likelihood(options)
