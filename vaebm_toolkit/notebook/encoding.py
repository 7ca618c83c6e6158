"""What a model does with an encoder: latents, reconstructions, bounds on log p(x)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor

from vaebm_toolkit.core import Autoencoder, State, frozen
from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.evaluation import likelihood
from vaebm_toolkit.notebook.inputs import Examples
from vaebm_toolkit.notebook.samples import Samples

T = TypeVar("T")


class Encoding(ABC):
    """As in `vaebm latents` and `vaebm likelihood`, row i of what is drawn depends on (seed, first + i)."""

    @property
    @abstractmethod
    def autoencoder(self) -> Autoencoder:
        """A generator with its encoder, or a ToolkitError where there is none."""

    @abstractmethod
    def batch(self, x: Examples) -> Tensor:
        """(B, *shape) on the networks' device, or a DataError."""

    @abstractmethod
    def shown(self, x: Tensor, columns: int | None = None) -> Samples:
        """x within the data's bounds, to be looked at."""

    @abstractmethod
    def undisturbed(self) -> AbstractContextManager[None]:
        """The run's threads and dtype; all as before on leaving."""

    def encode(self, x: Examples, *, seed: int = 0, first: int = 0, batch_size: int = 100) -> State:
        """Posterior samples as noise ε: {group: (B, *group shape)}; "x" holds what the latents leave over."""
        found = self._rows(self.autoencoder.encode, "encode", self.batch(x), seed, first, batch_size)
        return {name: torch.cat([part[name] for part in found]) for name in found[0]}

    def reconstruct(self, x: Examples, *, seed: int = 0, first: int = 0, batch_size: int = 100) -> Samples:
        """The decoder's means at posterior samples of x."""
        function = self.autoencoder.reconstruct
        return self.shown(torch.cat(self._rows(function, "encode", self.batch(x), seed, first, batch_size)))

    def interpolate(self, a: Examples, b: Examples, steps: int = 10, *, seed: int = 0) -> Samples:
        """`steps` of the decoder's means from each a to its b, along great circles of ε; a row for each."""
        at_least(2, steps=steps)
        at_least(0, seed=seed)
        start, end = self.batch(a), self.batch(b)
        if len(start) != len(end):
            raise RecipeError(f"a has {len(start)} examples, b has {len(end)}.", "Give as many of both.")
        rng = likelihood.streams(seed, "encode", torch.arange(len(start)), start.device)
        with self.undisturbed(), torch.no_grad(), frozen(self.autoencoder):
            path = self.autoencoder.interpolate(start, end, steps, rng)
        return self.shown(path.flatten(0, 1), columns=steps)

    def elbo(self, x: Examples, *, seed: int = 0, first: int = 0, batch_size: int = 100) -> Tensor:
        """log p(x|z) − KL(q ‖ p), one posterior sample each: (B,) float64, nats; on average below log p(x)
        of the generator. `model.autoencoder.density` says what it is the density of.
        """

        def bound(x: Tensor, rng: torch.Generator) -> Tensor:
            elbo = self.autoencoder.elbo(x, rng)
            return elbo.log_px.double().cpu() - elbo.kl.double().cpu().sum(1)

        return torch.cat(self._rows(bound, "elbo", self._likely(x), seed, first, batch_size))

    def importance_bound(
        self, x: Examples, draws: int = 64, *, seed: int = 0, first: int = 0, batch_size: int = 100
    ) -> Tensor:
        """log (1/K) Σ_k p(x, z_k) / q(z_k|x), K = `draws`, (B,) float64, nats: tighter than the ELBO.

        Its mean rises with K towards the generator's log p(x) (Burda et al., 2016).
        """
        at_least(1, draws=draws, batch_size=batch_size)
        at_least(0, seed=seed, first=first)
        model, x = self.autoencoder, self._likely(x)
        with self.undisturbed(), frozen(model):
            found = [
                likelihood.importance_bound(model, part, index, draws, seed)
                for index, part in numbered(x, first, batch_size)
            ]
        return torch.cat(found)

    def _likely(self, x: Examples) -> Tensor:
        """The batch, which must have a likelihood under the generator."""
        found = self.batch(x)
        self.autoencoder.check_data(found)
        return found

    def _rows(
        self,
        function: Callable[[Tensor, torch.Generator], T],
        name: str,
        x: Tensor,
        seed: int,
        first: int,
        batch_size: int,
    ) -> list[T]:
        """The function of each part of x, with the streams of its rows."""
        at_least(1, batch_size=batch_size)
        at_least(0, seed=seed, first=first)
        with self.undisturbed(), torch.no_grad(), frozen(self.autoencoder):
            return [
                function(part, likelihood.streams(seed, name, index, x.device))
                for index, part in numbered(x, first, batch_size)
            ]


def numbered(x: Tensor, first: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(numbers of its rows, part) for each part of x, the first row being number `first`."""
    for start in range(0, len(x), batch_size):
        part = x[start : start + batch_size]
        yield first + start + torch.arange(len(part)), part


def at_least(bound: int, **given: int) -> None:
    """RecipeError for a number that is too small."""
    for name, value in given.items():
        if value < bound:
            raise RecipeError(f"{name}={value}: it must be at least {bound}.")
