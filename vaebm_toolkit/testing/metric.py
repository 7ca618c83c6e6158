"""Claims about metrics: figures that are numbers, depend on the samples alone, and tell data from noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vaebm_toolkit.core import (
    Dataset,
    EnergyFunction,
    LogDensity,
    Metric,
    Model,
    Sampler,
    State,
    randn_like,
    value_and_grad,
)
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.options import slots
from vaebm_toolkit.registry import installed, load_factory
from vaebm_toolkit.testing.claims import Claims, Fault, Skip
from vaebm_toolkit.testing.measure import no_global_randomness
from vaebm_toolkit.testing.subject import Shape, Subject, settings
from vaebm_toolkit.testing.tiny import TinyDataset
from vaebm_toolkit.testing.tiny_networks import TinyGenerator

CLAIMS = Claims()
SHAPES: tuple[Shape, ...] = ((1, 8, 8), (3, 8, 8), (2,))
NEAR = 1e-5  # relative difference of two figures that took different ways


class Bowl(EnergyFunction):
    """E(x) = λ ‖x‖² / 2: an energy to evaluate with."""

    def __init__(self) -> None:
        super().__init__()
        self.precision = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.precision / 2 * x.flatten(1).square().sum(1)


class Walk(Sampler):
    """Four Langevin steps on ε."""

    space, steps = "latent", 4

    def step(
        self, state: State, log_density: LogDensity, rng: torch.Generator
    ) -> tuple[State, dict[str, Tensor]]:
        _, grad = value_and_grad(log_density, state)
        return {k: v + 0.05 * grad[k] + 0.1**0.5 * randn_like(v, rng) for k, v in state.items()}, {}


class MetricSubject(Subject):
    """The metric, with `pixels` where it compares features, on small data sets that it takes."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.refused: dict[Shape, str] = {}

    def data(self, shape: Shape) -> Dataset:
        """A small data set of this shape, with labels and modes."""
        return TinyDataset(shape, self.seed)

    def metric(self, shape: Shape, table: Mapping[str, Any] | None = None) -> Metric:
        given = {}
        for name, slot in slots(self.component.options).items():
            part = installed().find(slot.kind, slot.default)
            options = part.component.options() if part.component.options else None
            with settings(torch.float32):
                given[name] = load_factory(part)(options, dataset=self.data(shape))
        metric: Metric = self.build(table, dtype=torch.float32, **given)
        return metric

    @property
    def tried(self) -> list[Shape]:
        """The shapes of data that it does not refuse."""
        taken = []
        for shape in (self.shape,) if self.shape else SHAPES:
            try:
                self.metric(shape).check(self.data(shape))
                taken.append(shape)
            except ToolkitError as e:
                self.refused[shape] = e.message
        return taken

    def samples(self, shape: Shape, n: int = 120) -> Tensor:
        """Examples of the training split with a little noise."""
        data = self.data(shape)
        x = data.train.batch(torch.arange(n))
        noisy = x + 0.05 * torch.randn(x.shape, generator=self.rng("samples"))
        return noisy if data.bounds is None else noisy.clamp(*data.bounds)

    def model(self, shape: Shape) -> Model:
        """A generator times an energy, with chains in latent space."""
        with settings(torch.float32, self.seed):
            generator, energy = TinyGenerator(shape).eval(), Bowl()
        return Model(generator, energy, Walk(), shape, self.data(shape).bounds, mean=True)

    def figures(self, shape: Shape, batches: Any, table: Mapping[str, Any] | None = None) -> dict[str, float]:
        """What a new metric finds, after it has seen a small model."""
        metric = self.metric(shape, table)
        with settings(torch.float32), no_global_randomness("compute"):
            metric.see(self.model(shape))
            return dict(metric.compute(batches, self.data(shape)))


SUBJECT = MetricSubject


def places(s: MetricSubject) -> list[Any]:
    """Where options are looked at: data of each shape that it takes."""
    return s.tried


def fingerprint(s: MetricSubject, table: Mapping[str, Any], shape: Shape) -> Iterator[Any]:
    """What can be observed of a metric with these options."""
    metric = s.metric(shape, table)
    metric.check(s.data(shape))
    with settings(torch.float32):
        metric.see(s.model(shape))
        figures = dict(metric.compute(s.samples(shape).split(40), s.data(shape)))
    yield figures, dict(metric.protocol), dict(metric.pictures)


@CLAIMS.add
def builds(s: MetricSubject) -> str | None:
    """The factory returns a core.Metric that takes some data; others it refuses in words, before training."""
    for shape in s.tried:
        if not isinstance(s.metric(shape), Metric):
            raise Fault(
                f"the factory returns a {type(s.metric(shape)).__name__}",
                "a core.Metric",
                "class Mine(Metric).",
            )
    if not s.tried:
        raise Skip(f"It refuses all data that were tried: {'; '.join(s.refused.values())}")
    return f"data of shape {', '.join('×'.join(map(str, shape)) for shape in s.tried)}"


@CLAIMS.add
def figures_are_numbers(s: MetricSubject) -> str | None:
    """compute returns finite Python floats under names."""
    for shape in s.tried:
        found = s.figures(shape, s.samples(shape).split(40))
        if not found or not all(isinstance(name, str) and name for name in found):
            raise Fault(f"figures are {found!r}", "at least one, by its name", 'return {"mine": value}')
        for name, value in found.items():
            if not isinstance(value, float) or isinstance(value, Tensor):
                raise Fault(
                    f'"{name}" is a {type(value).__name__}',
                    "a float: figures are stored as JSON",
                    "float(value)",
                )
            if not math.isfinite(value):
                raise Fault(
                    f'"{name}" is {value}', "a finite number", "Look at 0/0, and at singular matrices."
                )
    return ", ".join(f"{k} {v:.4g}" for k, v in found.items())


@CLAIMS.add
def batches_do_not_matter(s: MetricSubject) -> str | None:
    """The same samples give the same figures, however they are divided into batches."""
    for shape in s.tried:
        x = s.samples(shape)
        whole = s.figures(shape, [x])
        for words, batches in (
            ("again", [x]),
            ("in batches of 7", x.split(7)),
            ("as a generator", iter(x.split(50))),
        ):
            found = s.figures(shape, batches)
            for name, value in whole.items():
                if name not in found or abs(found[name] - value) > NEAR * max(abs(value), 1e-3):
                    raise Fault(
                        f'"{name}" is {found.get(name)} {words}, {value} at first',
                        "the same: it depends on the samples alone",
                        "Keep sums over all batches, read them once, and draw from a stream of your own.",
                    )
    return None


@CLAIMS.add
def keeps_nothing_of_other_samples(s: MetricSubject) -> str | None:
    """One metric judges several models: what it found before does not matter."""
    for shape in s.tried:
        x, data = s.samples(shape), s.data(shape)
        metric = s.metric(shape)
        with settings(torch.float32):
            metric.see(s.model(shape))
            metric.compute([1 - x], data)
            second = dict(metric.compute([x], data))
        for name, value in s.figures(shape, [x]).items():
            if name not in second or abs(second[name] - value) > NEAR * max(abs(value), 1e-3):
                raise Fault(
                    f'"{name}" is {second.get(name)} after other samples, {value} by itself',
                    "the same",
                    "Keep sums in compute, and not on self.",
                )
    return None


@CLAIMS.add
def tells_data_from_noise(s: MetricSubject) -> str | None:
    """Noise gets other figures than data; a metric of the networks alone is left out."""
    for shape in s.tried:
        x = s.samples(shape)
        noise = torch.rand(x.shape, generator=s.rng("noise"))
        data, other = s.figures(shape, [x]), s.figures(shape, [noise if len(shape) == 3 else 9 * noise])
        if all(abs(data[k] - other.get(k, math.nan)) <= NEAR * max(abs(data[k]), 1e-3) for k in data):
            near = s.figures(shape, [x[:60]])
            if near == data:
                raise Skip("Its figures do not depend on the samples.")
            raise Fault(
                f"noise gets {other}, and data get {data}",
                "figures that differ",
                "Use the samples in compute.",
            )
    return None


@CLAIMS.add
def leaves_samples_alone(s: MetricSubject) -> str | None:
    """compute does not write into the samples: the next metric reads them too."""
    for shape in s.tried:
        x = s.samples(shape)
        kept = x.clone()
        s.figures(shape, [x])
        if not torch.equal(x, kept):
            raise Fault(
                "compute writes into the samples", "samples that are left alone", "No in-place operations."
            )
    return None


@CLAIMS.add
def says_how_it_measured(s: MetricSubject) -> str | None:
    """After compute, `protocol` is a mapping of what must stand beside the figure."""
    for shape in s.tried:
        metric = s.metric(shape)
        with settings(torch.float32):
            metric.see(s.model(shape))
            metric.compute([s.samples(shape)], s.data(shape))
        protocol = getattr(metric, "protocol", None)
        if not isinstance(protocol, Mapping) or not protocol:
            raise Fault(
                f"protocol is {protocol!r}",
                "what must stand beside the figure: the number of examples, the space",
                'self.protocol = {"samples": n} in compute',
            )
    return ", ".join(map(str, protocol))
