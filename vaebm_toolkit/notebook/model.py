"""A model to work with: a run's, or an untrained one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaebm_toolkit import core
from vaebm_toolkit.building import build_dataset, build_sampler
from vaebm_toolkit.core import (
    Autoencoder,
    Dataset,
    EnergyFunction,
    Generator,
    LogDensity,
    RowStreams,
    Sampler,
    State,
    buffers_restored,
    frozen,
    stream,
    target_density,
)
from vaebm_toolkit.errors import RecipeError, RunError, quoted
from vaebm_toolkit.evaluation import sampling
from vaebm_toolkit.notebook import describing
from vaebm_toolkit.notebook.encoding import Encoding, at_least, numbered
from vaebm_toolkit.notebook.inputs import Examples, batch
from vaebm_toolkit.notebook.samples import Samples
from vaebm_toolkit.options import parse
from vaebm_toolkit.recipe import EvaluateOptions, Recipe
from vaebm_toolkit.trained import at_temperature, load_autoencoder, load_model
from vaebm_toolkit.training.device import choose_device, undisturbed
from vaebm_toolkit.training.rundir import RunDirectory, read_json, read_log

if TYPE_CHECKING:
    from rich.table import Table


class Model(Encoding):
    """A generator, an energy and a sampler, by `vt.load(RUN)`, `vt.build(recipe)` or `vt.run(recipe)`.

    Examples `x` are tensors (B, C, H, W) in [0, 1], arrays, PIL images, files, `Samples`, or lists of those.
    Where something is drawn, row i depends on (seed, first + i) alone, whatever the batch size.
    """

    def __init__(self, recipe: Recipe, made_of: core.Model, run: RunDirectory | None = None) -> None:
        self.recipe, self.made_of, self.run = recipe, made_of, run

    @property
    def path(self) -> Path | None:
        """The run; None for an untrained model."""
        return None if self.run is None else self.run.path

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example: (C, H, W) or (D,)."""
        return self.made_of.shape

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The range of the data's values; None for unbounded vectors."""
        return self.made_of.bounds

    @property
    def device(self) -> torch.device:
        return self.made_of.like.device

    @property
    def generator(self) -> Generator | None:
        """x = T(ε), as samples are drawn with it. A run's is constant, quicker, and has no encoder."""
        return self.made_of.generator

    @property
    def energy_function(self) -> EnergyFunction | None:
        """E as a module. A run's is constant: in eval mode, its weights without gradient."""
        return self.made_of.energy

    @property
    def sampler(self) -> Sampler | None:
        """Of test time, [sampling]."""
        return self.made_of.sampler

    @property
    def training_sampler(self) -> Sampler | None:
        """Of training, [sampler]: mostly shorter chains."""
        return build_sampler(self.recipe, "sampler", self.bounds)

    @cached_property
    def autoencoder(self) -> Autoencoder:
        """The generator with its encoder, as the first stage left both."""
        if self.run is not None:
            with self.undisturbed():
                return load_autoencoder(self.run, self.device)
        if not isinstance(self.generator, Autoencoder):
            raise RecipeError(
                "The recipe has no generator that can encode.", "Choose another: vt.parts('generator')"
            )
        return self.generator

    @cached_property
    def _first_stage(self) -> core.Model:
        """The generator of the first stage alone, which a second stage may have moved."""
        if self.run is None or self.energy_function is None:
            return self.made_of._replace(energy=None, sampler=None)
        with self.undisturbed():
            return load_model(self.run, self.device, (1.0,), 1.0, second=False)

    def to(self, device: str | torch.device) -> Model:
        """Moves the networks, and returns the model."""
        where = choose_device(str(device))
        for module in (self.generator, self.energy_function):
            if module is not None:
                module.to(where)
        for loaded in ("autoencoder", "_first_stage"):  # again when next asked for
            self.__dict__.pop(loaded, None)
        return self

    def sample(
        self,
        n: int = 16,
        *,
        seed: int = 0,
        first: int = 0,
        batch_size: int = 64,
        generator_only: bool = False,
        temperature: float | Sequence[float] | None = None,
        head_temperature: float | None = None,
    ) -> Samples:
        """The samples that `vaebm sample RUN --count n` draws, by the recipe's sampler at its temperatures.

        generator_only: from the first stage's generator. temperature: of the latent groups, one for all or
        one each, coarse to fine. head_temperature: of the decoder's own noise. batch_size: at a time.
        """
        at_least(1, n=n, batch_size=batch_size)
        at_least(0, seed=seed, first=first)
        with self.undisturbed():
            model = self._sampled(generator_only, temperature, head_temperature)
            chosen = range(first, first + n)
            found = sampling.samples(model, chosen, seed, batch_size, self.device, model.like)
            x = torch.cat([part.cpu() for part in found])
        if not torch.isfinite(x).all():
            warnings.warn(
                "Some samples are not finite: the chain diverged. Take smaller steps.", stacklevel=2
            )
        return Samples(x, energies=None if self.energy_function is None else self._energies(x, batch_size))

    def energy(self, x: Examples, *, batch_size: int = 100) -> Tensor:
        """E(x), (B,): low means likely. The model's density is the generator's times exp(−E), up to a
        constant; of an energy of the data alone, it is exp(−E). Differentiable in a tensor that asks for it.
        """
        at_least(1, batch_size=batch_size)
        self._energy_function()
        return self._energies(self.batch(x), batch_size)

    def density(self) -> LogDensity:
        """The log density that chains of `sample` are for, up to a constant: state -> (B,)."""
        energy = self._energy_function()
        with self.undisturbed():
            model = self._sampled()
        assert model.sampler is not None, "what has an energy has a sampler"
        return target_density(model.sampler, model.generator, energy)

    def start(self, n: int = 16, *, seed: int = 0, first: int = 0) -> State:
        """Where the chains of `sample` start: ε ~ N(0, I), or (z, x), or data, as the sampler works."""
        at_least(1, n=n)
        at_least(0, seed=seed, first=first)
        rng = RowStreams([stream(seed, "sample", i, device=self.device) for i in range(first, first + n)])
        with self.undisturbed():
            return sampling.chain_start(self._sampled(), n, rng, self.made_of.like)

    def decode(self, state: State) -> Samples:
        """The data at a chain's end: the decoder's mean there, or its sample, as [evaluate] says."""
        with self.undisturbed():
            return Samples(sampling.decode(self._sampled(), state))

    @cached_property
    def _dataset(self) -> Dataset:
        with self.undisturbed():
            return build_dataset(self.recipe)

    def dataset(self) -> Dataset:
        """The recipe's data, read when first asked for."""
        return self._dataset

    def examples(self, n: int = 16, *, first: int = 0, split: str = "test") -> Samples:
        """Examples of the recipe's data."""
        at_least(1, n=n)
        at_least(0, first=first)
        if split not in ("test", "train"):
            raise RecipeError(f'There is no split "{split}".', 'Use split="test" or split="train".')
        data = self.dataset().test if split == "test" else self.dataset().train
        if first >= len(data):
            raise RecipeError(f"first={first}: the {split} split has {len(data)} examples.")
        return Samples(data.batch(torch.arange(first, min(first + n, len(data)))))

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The run's metrics.json: figures, and the protocol without which they mean nothing; {} if none."""
        file = None if self.run is None else self.run.path / "metrics.json"
        found: dict[str, Any] = read_json(file) if file is not None and file.is_file() else {}
        return found

    @property
    def figures(self) -> Mapping[str, Mapping[str, float]]:
        """The run's final table: model -> metric -> value; {} without one."""
        found: dict[str, dict[str, float]] = self.metrics.get("figures", {})
        return found

    def log(self) -> list[dict[str, Any]]:
        """The logged steps of training, e.g. for pandas.DataFrame(model.log())."""
        records = [] if self.run is None else read_log(self.run.path / "log.jsonl")
        return [r for r in records if "step" in r]

    def __repr__(self) -> str:
        return repr(describing.listing(self))

    def _repr_html_(self) -> str:
        return describing.listing(self)._repr_html_()

    def __rich__(self) -> Table:
        return describing.listing(self).__rich__()

    def batch(self, x: Examples) -> Tensor:
        """Examples in any form as the networks take them: (B, *shape) on their device."""
        return batch(x, self.shape, self.bounds, self.made_of.like)

    def shown(self, x: Tensor, columns: int | None = None) -> Samples:
        return Samples(x if self.bounds is None else x.clamp(*self.bounds), columns=columns)

    def undisturbed(self) -> AbstractContextManager[None]:
        return undisturbed(self.recipe.run.threads)

    def _sampled(
        self,
        generator_only: bool = False,
        temperature: float | Sequence[float] | None = None,
        head_temperature: float | None = None,
    ) -> core.Model:
        """What samples are drawn from, at these temperatures or the recipe's."""
        asked = generator_only or temperature is not None or head_temperature is not None
        if self.generator is None and asked:
            raise RecipeError(
                "This model has no generator: it is an energy alone.",
                "Leave generator_only, temperature and head_temperature out.",
            )
        model, usual = self._first_stage if generator_only else self.made_of, self.recipe.evaluate
        if model.generator is None:
            return model
        latent = usual.temperature if temperature is None else temperature
        head = usual.head_temperature if head_temperature is None else head_temperature
        given = {"temperature": (latent,) if isinstance(latent, int | float) else tuple(latent)}
        o = parse(EvaluateOptions, {**given, "head_temperature": head}, "sample")
        generator = model.generator if self.run is not None else model.generator.frozen()
        return model._replace(generator=at_temperature(generator, o.temperature, o.head_temperature))

    def _energy_function(self) -> EnergyFunction:
        """E, or the error that says how to get one."""
        if self.energy_function is not None:
            return self.energy_function
        if self.run is None:
            raise RecipeError("The recipe has no energy.", "Choose one: vt.parts('energy')")
        where = quoted(self.run.path)
        if "energy" in self.recipe.parts:
            raise RunError(
                f"{self.run.path} has not finished training its energy.",
                f"Finish it: vaebm run --resume {where}",
            )
        raise RunError(f"{self.run.path} has no energy.", f"Train one: vaebm run --generator-from {where}")

    def _energies(self, x: Tensor, batch_size: int) -> Tensor:
        """E(x), (B,), in parts; what a call moves in the energy is put back after it."""
        energy = self._energy_function()
        found = []
        with self.undisturbed(), frozen(energy):
            for _, part in numbered(x, 0, batch_size):
                with buffers_restored(energy):
                    found.append(energy(part.to(self.made_of.like)))
        return torch.cat(found)
