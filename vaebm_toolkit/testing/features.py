"""Claims about feature spaces: a point for each example, wherever and whenever it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit.core import Dataset, Features
from vaebm_toolkit.errors import ToolkitError
from vaebm_toolkit.testing.claims import Claims, Fault, Skip
from vaebm_toolkit.testing.measure import difference, no_global_randomness, same_bits
from vaebm_toolkit.testing.subject import Shape, Subject
from vaebm_toolkit.testing.tiny import TinyDataset

CLAIMS = Claims()
SHAPES: tuple[Shape, ...] = ((1, 8, 8), (3, 8, 8), (2,))


class FeaturesSubject(Subject):
    """Feature spaces of small data sets with labels, of the shapes that they take."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.spaces: dict[Shape, Features] = {}
        self.refused: dict[Shape, str] = {}

    def dataset(self, shape: Shape) -> Dataset:
        return TinyDataset(shape, self.seed)

    def space(self, shape: Shape) -> Features:
        """The space of a data set of this shape; Skip where the part refuses it."""
        if shape not in self.spaces:
            self.spaces[shape] = self.build(dataset=self.dataset(shape), dtype=torch.float32)
        return self.spaces[shape]

    @property
    def tried(self) -> list[Shape]:
        """The shapes that it does not refuse."""
        taken = []
        for shape in (self.shape,) if self.shape else SHAPES:
            if shape in self.refused:
                continue
            try:
                self.space(shape)
                taken.append(shape)
            except ToolkitError as e:
                self.refused[shape] = e.message
        return taken

    def examples(self, shape: Shape, n: int = 12) -> Tensor:
        return self.dataset(shape).test.batch(torch.arange(n))


SUBJECT = FeaturesSubject


def places(s: FeaturesSubject) -> list[Any]:
    """Where options are looked at: data of each shape that it takes."""
    return s.tried


def fingerprint(s: FeaturesSubject, table: Mapping[str, Any], shape: Shape) -> Iterator[Any]:
    """What can be observed of a space with these options, cheapest first."""
    space: Features = s.build(table, dataset=s.dataset(shape), dtype=torch.float32)
    yield space(s.examples(shape))
    yield dict(space.about)


@CLAIMS.add
def builds(s: FeaturesSubject) -> str | None:
    """The factory takes a data set and returns a core.Features, for at least one kind of data."""
    for shape in s.tried:
        if not isinstance(s.space(shape), Features):
            raise Fault(
                f"the factory returns a {type(s.space(shape)).__name__}",
                "a core.Features",
                "class Mine(Features).",
            )
    if not s.tried:
        raise Skip(f"It refuses all data that were tried: {'; '.join(s.refused.values())}")
    return f"data of shape {', '.join('×'.join(map(str, shape)) for shape in s.tried)}"


@CLAIMS.add
def gives_a_point_for_each_example(s: FeaturesSubject) -> str | None:
    """(B, *shape) -> (B, d), floating point, finite, without gradient."""
    sizes = []
    for shape in s.tried:
        x = s.examples(shape)
        f = s.space(shape)(x.clone().requires_grad_())
        if not isinstance(f, Tensor) or f.dim() != 2 or len(f) != len(x) or not f.is_floating_point():
            said = f"{tuple(f.shape)}, {f.dtype}" if isinstance(f, Tensor) else type(f).__name__
            raise Fault(
                f"features of {len(x)} examples are {said}", f"({len(x)}, d)", "End with .flatten(1)."
            )
        if not torch.isfinite(f).all():
            raise Fault("features are not finite", "finite numbers", "Keep away from √0, log 0 and x / 0.")
        if f.requires_grad and len(list(getattr(s.space(shape), "parameters", list)())):
            raise Fault("features carry a graph", "no gradient", "Decorate __call__ with torch.no_grad().")
        sizes.append(str(f.shape[1]))
    return f"d = {', '.join(sizes)}"


@CLAIMS.add
def examples_are_independent(s: FeaturesSubject) -> str | None:
    """An example's features do not depend on the others in its batch, nor on their number."""
    for shape in s.tried:
        space, x = s.space(shape), s.examples(shape)
        together = space(x)
        for words, other in (
            ("the batch is reversed", space(x.flip(0)).flip(0)),
            ("it is alone", torch.cat([space(row[None]) for row in x])),
            ("the others change", torch.cat([space(torch.cat([x[:6], 1 - x[6:]]))[:6], together[6:]])),
        ):
            off = difference(together, other)
            if off > 1e-4:
                raise Fault(
                    f"features of an example change by {off:.2g} of their size when {words}",
                    "the same: figures must not depend on the batch size",
                    "Normalise by constants of the data set; put networks in eval mode.",
                )
    return None


@CLAIMS.add
def same_examples_same_features(s: FeaturesSubject) -> str | None:
    """Asked again, and built again, it gives the same; nothing global is touched, nor its input."""
    for shape in s.tried:
        x = s.examples(shape)
        kept = x.clone()
        space: Features = s.build(dataset=s.dataset(shape), dtype=torch.float32, start=1)
        with no_global_randomness("computing features"):
            first = space(x)
        if not same_bits(x, kept):
            raise Fault(
                "it writes into its input", "an input that is left alone", "No in-place operations on x."
            )
        if not same_bits(first, space(x)):
            raise Fault("features differ from call to call", "the same", "No dropout, no noise: eval mode.")
        if difference(first, s.space(shape)(x)) > 1e-5:
            raise Fault(
                "features differ when the space is built again",
                "the same: figures of two runs must compare",
                "Seed what is random with a constant or an option: core.stream(options.seed, …).",
            )
    return None


@CLAIMS.add
def examples_are_told_apart(s: FeaturesSubject) -> str | None:
    """Different examples have different features."""
    for shape in s.tried:
        f = s.space(shape)(s.examples(shape))
        if float((f - f[:1]).abs().max()) == 0:
            raise Fault(
                "all examples have the same features",
                "features that tell examples apart",
                "Look at its output.",
            )
    return None


@CLAIMS.add
def says_what_it_is(s: FeaturesSubject) -> str | None:
    """`about` is a mapping that says what stands beside a figure, the space's name at least."""
    if not s.tried:
        raise Skip("It refuses all data that were tried.")
    for shape in s.tried:
        space = s.space(shape)
        space(s.examples(shape, 2))
        about = getattr(space, "about", None)
        if not isinstance(about, Mapping) or not about:
            raise Fault(
                f"about is {about!r}",
                "a mapping with words for the protocol",
                'self.about = {"features": "mine"}',
            )
    return ", ".join(f"{k} {v}" for k, v in s.space(s.tried[0]).about.items())
