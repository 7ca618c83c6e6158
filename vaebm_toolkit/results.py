"""What a trained run is worth: samples, figures with their protocols, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from attrs import evolve
from torch import Tensor

from vaebm_toolkit.core import Autoencoder, Dataset, Metric, Model, SampleStream, ranks
from vaebm_toolkit.errors import RunError, quoted
from vaebm_toolkit.evaluation import records
from vaebm_toolkit.evaluation.density import relative_density
from vaebm_toolkit.evaluation.records import Record
from vaebm_toolkit.evaluation.sampling import samples
from vaebm_toolkit.evaluation.sharing import Shared
from vaebm_toolkit.evaluation.store import SampleStore, digest
from vaebm_toolkit.measuring import KeptSamples, against, measure, noting, versions
from vaebm_toolkit.recipe import EvaluateOptions, Recipe
from vaebm_toolkit.report import pictures
from vaebm_toolkit.trained import load_model
from vaebm_toolkit.training.files import write_json
from vaebm_toolkit.training.rundir import RunDirectory

STORE = "evaluation"
ENERGY = "mean energy"


class Diverged(RunError):
    """The run's recipe is no good: a chain or a training stage left the finite numbers."""


class Results(NamedTuple):
    """What `vaebm run` ends with."""

    figures: dict[str, dict[str, float]]
    """model -> figure -> value"""
    protocol: dict[str, Any]
    pictures: list[Path]
    records: list[Record]


class Evaluation:
    """One run's models, judged by the metrics that `options` name."""

    def __init__(
        self,
        run: RunDirectory,
        dataset: Dataset,
        device: torch.device,
        recipe: Recipe | None = None,
        metrics: dict[str, Metric] | None = None,
        note: Callable[[str], None] = lambda text: None,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        """recipe: the run's with another [evaluate]. stop: called between batches; what it raises ends the
        work, and what was made is kept.
        """
        self.run, self.dataset, self.device = run, dataset, device
        self.recipe: Recipe = run.recipe if recipe is None else recipe
        self.options = self.recipe.evaluate
        self.metrics = {} if metrics is None else metrics  # kept: features are fitted to the data once
        self.note, self.stop, self.seed = note, stop, self.recipe.run.seed

    def models(self) -> dict[str, Model]:
        """Those that are compared: the generator alone, and its product with the energy."""
        model = load_model(self.run, self.device)
        both = model.energy is not None and model.generator is not None
        found = {"generator": load_model(self.run, self.device, second=False)} if both else {}
        return {**found, model_name(self.recipe): model}

    def figures(self, energy: bool = False) -> list[Record]:
        """Every figure of every model, with the samples' mean energy if asked for; kept in the run."""
        models = self.models()
        streams = {name: self.samples(name, model) for name, model in models.items()}
        return self.judge(models, streams, energy)

    def results(self) -> Results:
        """The table of the recipe's own evaluation, and pictures; kept in the run."""
        models = self.models()
        streams = {name: self.samples(name, model) for name, model in models.items()}
        found = self.judge(models, streams)
        figures: dict[str, dict[str, float]] = {name: {} for name in models}
        o, last = self.options, models[model_name(self.recipe)]
        protocol: dict[str, Any] = {**self.conditions(last), "device": str(self.device)}
        for r in found:
            figures[r.model].update({k + r.suffix: v for k, v in r.figures.items()})
            if r.metric != ENERGY:
                metric = self.metrics[f"{r.metric}/{r.features}"]
                protocol[r.metric + r.suffix] = {"split": o.split, **metric.protocol}
        write_json(self.run.path / "metrics.json", {"figures": figures, "protocol": protocol})
        shown = {name: first_rows(stream, o.samples if len(last.shape) == 1 else o.grid)
                 for name, stream in streams.items()}  # fmt: skip
        return Results(figures, protocol, self.pictures(shown, last), found)

    def draw(self) -> None:
        """Make the samples of all models, shared out over the ranks, all of which call this.

        They are kept in the run, where rank 0 finds them when it judges them.
        """
        models = self.models()
        shared = Shared({name: partial(self.rows, model) for name, model in models.items()})
        if ranks.rank() > 0:
            shared.serve()
            return
        for name, model in models.items():
            self.samples(name, model, shared).fill()
        shared.end()

    def rows(self, model: Model, indices: range) -> Iterator[Tensor]:
        """Batches of a model's samples."""
        return samples(model, indices, self.seed, self.options.batch_size, self.device, model.like)

    def samples(self, name: str, model: Model, shared: Shared | None = None) -> KeptSamples:
        """The samples of a model: made as they are asked for, also by other ranks, and kept in the run."""
        o = self.options

        def make(indices: range) -> Iterator[Tensor]:
            self.note(f"sampling {indices.start:,} to {indices.stop:,} from {name}")
            own = self.rows(model, indices) if shared is None else shared.make(name, indices, o.batch_size)
            for x in own:
                self.stop()
                if not torch.isfinite(x).all():
                    raise Diverged(
                        f"Some samples of {name} are not finite: the chain diverged at test time.",
                        f"Start again with smaller steps: {self.again()} --sampling.step-size VALUE",
                    )
                yield x

        # not how many: more of the same are added to those that are there
        same = {k: v for k, v in self.conditions(model).items() if k != "samples"}
        store = SampleStore(self.run.path / STORE, {"model": name, **same}, make)
        return KeptSamples(store, o.samples, o.batch_size, self.stop, self.seed)

    def judge(
        self, models: Mapping[str, Model], streams: Mapping[str, SampleStream], mean_energy: bool = True
    ) -> list[Record]:
        """Every figure of every model, kept in the run."""
        o, other = self.options, self.other_data
        folder = self.run.path / STORE / (f"data-{digest(other)}" if other else "")
        reference = against(self.dataset, o.split, folder, o.batch_size)

        def protocol(name: str) -> dict[str, Any]:
            named = {"data": other} if other else {}
            return {**self.conditions(models[name]), **named, "split": o.split}

        parts = self.recipe.measured
        measured = measure(parts, self.dataset, reference, streams, models, protocol, self.metrics)
        with noting(self.note):
            found = [evolve(r, pictures=self.keep_pictures(r, metric)) for r, metric in measured]
        energy = models[model_name(self.recipe)].energy
        for name, stream in streams.items() if energy is not None and mean_energy else ():
            with torch.no_grad():
                total = sum(float(energy(x.to(self.device)).double().sum()) for x in stream)
            figures = {ENERGY: total / len(stream)}
            told = {**self.conditions(models[name]), "device": str(self.device), "versions": versions()}
            found.append(records.record(name, ENERGY, "", figures, told))
        if (aside := records.keep(self.run.path, found)) is not None:
            self.note(f"warning: {self.run.path / records.FILE} could not be read, and is {aside.name} now")
        return found

    @property
    def other_data(self) -> dict[str, Any]:
        """The data that the samples are compared with, where they are not the run's own."""
        return {} if self.recipe.data == self.run.recipe.data else self.recipe.data

    def keep_pictures(self, r: Record, metric: Metric) -> dict[str, str]:
        """A metric's pictures as PNG files in the run: what they show -> their paths, relative to it."""
        kept = {}
        for name, x in metric.pictures.items():
            file = f"{r.metric}{r.suffix}-{name}-{r.model}.png".replace(" ", "-")
            picture = pictures.grid(x.flatten(0, 1), columns=x.shape[1])
            kept[name] = str(Path("samples", file))
            pictures.save_png(picture, self.run.path / kept[name])
        return kept

    def conditions(self, model: Model) -> dict[str, Any]:
        """What the samples of a model depend on, besides the networks."""
        o = self.options
        found: dict[str, Any] = {
            "samples": o.samples, "decoder": o.decoder if model.generator is not None else "none",
            "seed": self.seed, **settings_of(o),
        }  # fmt: skip
        if "pretrain" in self.recipe.parts:
            found["BatchNorm"] = normalisation(self.recipe)
        if model.energy is not None and "sampling" in self.recipe.parts:
            part = self.recipe.parts["sampling"]
            found["sampler"] = {"name": part.name, **self.recipe.tables()["sampling"]}
        return found

    def again(self) -> str:
        """The command for another second stage like this one."""
        if "generator" in self.recipe.parts:
            return f"vaebm run --generator-from {quoted(self.run.path)}"
        return f"vaebm run --recipe {quoted(self.run.path / 'recipe.toml')}"

    def pictures(self, drawn: dict[str, Tensor], model: Model) -> list[Path]:
        o, test = self.options, self.dataset.test
        folder = self.run.path / "samples"
        if len(model.shape) == 3:
            shown = {"data": test.batch(spread_over(len(test), o.grid)), **drawn}
            return [
                pictures.save_png(pictures.grid(x[: o.grid]), folder / f"{name}.png")
                for name, x in shown.items()
            ]
        shown = {"data": test.batch(torch.arange(min(o.samples, len(test)))), **drawn}
        picture = pictures.scatter(shown, densities=learned_density(model, self.device))
        return [pictures.save_png(picture, folder / "samples.png")]


def first_rows(stream: SampleStream, count: int) -> Tensor:
    """At most the first `count` examples."""
    held: list[Tensor] = []
    for x in stream:
        held.append(x)
        if sum(map(len, held)) >= count:
            break
    return torch.cat(held)[:count]


def learned_density(model: Model, device: torch.device) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """The density of a model of the plane, to be drawn; none where its generator cannot weigh."""
    fitted = model.fitted
    if model.shape != (2,) or not isinstance(fitted.generator, Autoencoder | None):
        return {}
    return {"learned density": lambda x: relative_density(fitted, x.to(device))}


def spread_over(n: int, count: int) -> torch.Tensor:
    """At most `count` indices below n, evenly spaced: files sorted by class show every class.

    >>> spread_over(10, 4).tolist(), spread_over(2, 4).tolist()
    ([0, 2, 5, 7], [0, 1])
    """
    count = min(n, count)
    return torch.arange(count) * n // max(count, 1)


def model_name(recipe: Recipe) -> str:
    """The trainer's name for what it trains; the generator's if there is no second stage."""
    return recipe.parts["trainer"].name if "trainer" in recipe.parts else "generator"


def settings_of(o: EvaluateOptions) -> dict[str, Any]:
    """What else changes samples, where it is not as usual."""
    found: dict[str, Any] = {}
    if o.temperature != (1.0,):
        found["temperature"] = ", ".join(f"{t:g}" for t in o.temperature)
    if o.head_temperature != 1.0:
        found["head temperature"] = o.head_temperature
    if o.stretch:
        found["stretched"] = "each to its own minimum and maximum"
    return found


def normalisation(recipe: Recipe) -> str:
    """How the generator's BatchNorm statistics came about."""
    passes = getattr(recipe.parts["pretrain"].options, "bn_passes", 0)
    return f"re-calibrated, {passes} passes" if passes else "running averages"
