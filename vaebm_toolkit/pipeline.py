"""The whole job: data, generator stage, energy stage, samples, figures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vaebm_toolkit.building import (
    build_buffer,
    build_energy,
    build_generator,
    build_metrics,
    build_sampler,
    build_trainer,
)
from vaebm_toolkit.core import Autoencoder, Dataset, EnergyFunction, Generator, Horizon, Metric, stream
from vaebm_toolkit.errors import RecipeError, RunError, quoted
from vaebm_toolkit.evaluation.density import relative_density
from vaebm_toolkit.evaluation.sampling import Model, samples
from vaebm_toolkit.options import derived_values
from vaebm_toolkit.recipe import EvaluateOptions, Recipe
from vaebm_toolkit.registry import Registry
from vaebm_toolkit.report import pictures
from vaebm_toolkit.training.batches import Batches
from vaebm_toolkit.training.device import use_threads
from vaebm_toolkit.training.files import write_json
from vaebm_toolkit.training.fit import Interrupted, Reporter, fit, horizon_of
from vaebm_toolkit.training.rundir import DATA, STAGES, RunDirectory, read_json


class Diverged(RunError):
    """The run's recipe is no good: a chain or a training stage left the finite numbers."""


class Results(NamedTuple):
    """What `vaebm run` ends with."""

    figures: dict[str, dict[str, float]]
    """model -> metric -> value"""
    protocol: dict[str, Any]
    pictures: list[Path]


class Pipeline:
    """One run from its recipe; every method continues where an earlier process stopped."""

    def __init__(
        self,
        run: RunDirectory,
        dataset: Dataset,
        registry: Registry,
        reporter: Reporter,
        device: torch.device,
        stop: threading.Event | None = None,
        metrics: dict[str, Metric] | None = None,
    ) -> None:
        self.run, self.dataset, self.registry, self.reporter = run, dataset, registry, reporter
        self.device, self.stop = device, stop
        self.metrics = {} if metrics is None else metrics  # kept: features are fitted to the data once
        self.recipe: Recipe = run.recipe
        self.seed = run.recipe.run.seed

    def work(self) -> Results | None:
        """Everything; None where the recipe asks for no samples."""
        use_threads(self.recipe.run.threads)
        self.describe()
        dataset = self.dataset
        write_json(
            self.run.path / DATA,
            {"shape": list(dataset.shape), "bounds": dataset.bounds, "train": len(dataset.train),
             "test": len(dataset.test)},
        )  # fmt: skip
        generator = self.generator_stage(dataset)
        self.energy_stage(dataset, generator)
        if not self.recipe.evaluate.samples:
            return None
        return self.results(dataset)

    def describe(self) -> None:
        """The choices that decide a run, and what follows from them."""
        parts = [f"{t} {p.name}" for t, p in self.recipe.parts.items() if t not in ("pretrain", "sampling")]
        self.reporter.note(f"{self.run.path}: {', '.join(parts)}")
        for table in ("sampler", "sampling"):
            if table in self.recipe.parts:
                for value, text in derived_values(self.recipe.parts[table].options).values():
                    self.reporter.note(f"{table}: {text.partition(':')[0]} = {value:.4g}")

    def generator_stage(self, dataset: Dataset) -> Generator | None:
        """Train the generator, or take the trained one."""
        with seeded(self.seed, "generator"):
            generator = build_generator(self.recipe, dataset.shape)
        if generator is None:
            return None
        generator.to(self.device)
        if self.run.done("pretrain") is None:
            outcome = self.train("pretrain", dataset, {"generator": generator})
            if outcome.diverged:
                raise Diverged(
                    f"The generator stage stopped: {outcome.stopped}.",
                    "Start again with a smaller --pretrain.lr, or go on with what is there: "
                    f"vaebm run --generator-from {quoted(self.run.path)}",
                )
        load(generator, self.run.networks("pretrain"), "generator", self.run.path)
        return generator.eval()

    def energy_stage(self, dataset: Dataset, generator: Generator | None) -> None:
        if "trainer" not in self.recipe.parts or self.run.done("train") is not None:
            return
        with seeded(self.seed, "energy"):
            energy = build_energy(self.recipe, dataset.shape)
        parts = {
            "dataset": dataset,
            "generator": generator,
            "energy": None if energy is None else energy.to(self.device),
            "sampler": build_sampler(self.recipe, "sampler", dataset.bounds),
            "buffer": build_buffer(self.recipe),
        }
        self.train("train", dataset, parts)

    def train(self, stage: str, dataset: Dataset, parts: dict[str, Any]) -> Any:
        table = STAGES[stage]
        settings = self.recipe.parts[table].stage
        assert settings is not None, "resolve gives every trainer its stage options"
        batches, horizon = plan(self.recipe, stage, dataset)
        trainer = build_trainer(self.recipe, table, horizon, parts)
        return fit(
            self.run, stage, trainer, batches, horizon, settings,
            self.registry, self.reporter, self.device, self.stop,
        )  # fmt: skip

    def results(self, dataset: Dataset) -> Results:
        """Pictures, and the table of the generator alone against its product with the energy."""
        o = self.recipe.evaluate
        model = load_model(self.run, self.device)
        both = model.energy is not None and model.generator is not None
        compared = {"generator": load_model(self.run, self.device, second=False)} if both else {}
        compared[model_name(self.recipe)] = model
        drawn = {}
        for name, m in compared.items():
            self.reporter.note(f"sampling {o.samples} from {name}")
            batches = samples(m, range(o.samples), self.seed, o.batch_size, self.device, model.like)
            drawn[name] = torch.cat([self.unless_stopped(x).cpu() for x in batches])
            if not torch.isfinite(drawn[name]).all():
                raise Diverged(
                    f"Some samples of {name} are not finite: the chain diverged at test time.",
                    f"Start again with smaller steps: {self.again()} --sampling.step-size VALUE",
                )
        figures: dict[str, dict[str, float]] = {name: {} for name in compared}
        protocol: dict[str, Any] = {
            "samples": o.samples, "decoder": o.decoder if model.generator is not None else "none",
            "seed": self.seed, "device": str(self.device), **settings_of(o),
        }  # fmt: skip
        if "sampling" in self.recipe.parts:
            part = self.recipe.parts["sampling"]
            protocol["sampler"] = {"name": part.name, **self.recipe.tables()["sampling"]}
        for metric_name, suffix, made in build_metrics(self.registry, o, dataset):
            metric = self.metrics.setdefault(metric_name + suffix, made)
            for name, x in drawn.items():
                metric.see(compared[name].fitted)
                found = metric.compute(x.split(o.batch_size), dataset)
                figures[name].update({figure + suffix: value for figure, value in found.items()})
            protocol[metric_name + suffix] = dict(metric.protocol)
        for name in compared:
            if model.energy is not None:
                with torch.no_grad():
                    energies = [model.energy(x.to(self.device)) for x in drawn[name].split(o.batch_size)]
                figures[name]["mean energy"] = float(torch.cat(energies).mean())
        write_json(self.run.path / "metrics.json", {"figures": figures, "protocol": protocol})
        return Results(figures, protocol, self.pictures(dataset, drawn, model))

    def again(self) -> str:
        """The command for another second stage like this one."""
        if "generator" in self.recipe.parts:
            return f"vaebm run --generator-from {quoted(self.run.path)}"
        return f"vaebm run --recipe {quoted(self.run.path / 'recipe.toml')}"

    def unless_stopped(self, x: torch.Tensor) -> torch.Tensor:
        """The batch, or the end of the run if the user asked for it between two batches."""
        if self.stop is not None and self.stop.is_set():
            raise Interrupted(
                "Stopped while sampling; the trained networks are kept.",
                f"Continue: vaebm run --resume {quoted(self.run.path)}",
            )
        return x

    def pictures(self, dataset: Dataset, drawn: dict[str, torch.Tensor], model: Model) -> list[Path]:
        o = self.recipe.evaluate
        folder = self.run.path / "samples"
        shown = {"data": dataset.test.batch(spread_over(len(dataset.test), o.grid)), **drawn}
        if len(dataset.shape) == 3:
            return [
                pictures.save_png(pictures.grid(x[: o.grid]), folder / f"{name}.png")
                for name, x in shown.items()
            ]
        shown["data"] = dataset.test.batch(torch.arange(min(o.samples, len(dataset.test))))
        picture = pictures.scatter(shown, densities=learned_density(model, self.device))
        return [pictures.save_png(picture, folder / "samples.png")]


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


def plan(recipe: Recipe, stage: str, dataset: Dataset) -> tuple[Batches, Horizon]:
    """A stage's batches and its length."""
    table, seed = STAGES[stage], recipe.run.seed
    settings = recipe.parts[table].stage
    assert settings is not None, "resolve gives every trainer its stage options"
    batches = Batches(dataset.train, settings.batch_size, seed, stage)
    return batches, horizon_of(settings, batches.steps_per_epoch, seed, table)


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


class seeded:
    """Weights of new networks from the run's seed; the global generator is put back after."""

    def __init__(self, seed: int, name: str) -> None:
        self.key = stream(seed, "weights", name).initial_seed()

    def __enter__(self) -> None:
        self.before = torch.random.get_rng_state()
        torch.default_generator.manual_seed(self.key)

    def __exit__(self, *_: object) -> None:
        torch.random.set_rng_state(self.before)


def load(
    module: torch.nn.Module, networks: dict[str, Any], name: str, run: Path, assign: bool = False
) -> None:
    """Put a stored network's weights into the module built from the recipe."""
    if name not in networks:
        raise RunError(f"{run} has no {name}.", f"Train one: vaebm run --resume {quoted(run)}")
    try:
        module.load_state_dict(networks[name], assign=assign)
    except RuntimeError as e:
        lines = [line.strip() for line in str(e).splitlines()[1:4]]
        raise RunError(
            f"The {name} stored in {run} does not fit the recipe or the data: {' '.join(lines)}",
            f"Compare the recipe and the size of the data with {run / 'recipe.toml'} and {run / DATA}.",
        ) from e


def load_autoencoder(run: RunDirectory, device: torch.device) -> Autoencoder:
    """The generator of a run's finished first stage, with its encoder, in eval mode.

    A second stage that moves the decoder leaves the encoder behind, so what it made is not taken here.
    """
    generator = build_generator(run.recipe, tuple(read_json(run.path / DATA)["shape"]))
    if not isinstance(generator, Autoencoder):
        raise RunError(f"{run.path} has no generator that can encode.", "Choose a run with one.")
    if run.done("pretrain") is None:
        raise RunError(
            f"{run.path} has no trained generator.", f"Train it: vaebm run --resume {quoted(run.path)}"
        )
    use_threads(run.recipe.run.threads)
    load(generator, run.networks("pretrain"), "generator", run.path)
    return generator.to(device).eval().requires_grad_(False)


def load_model(
    run: RunDirectory,
    device: torch.device,
    temperature: tuple[float, ...] | None = None,
    head_temperature: float | None = None,
    second: bool = True,
) -> Model:
    """The model of a finished run, ready to sample from; without its `second` stage, the generator of
    its first.

    Temperatures are those of its recipe unless given: of the latent groups (one, or one each, coarse
    to fine) and of the decoder's own noise.
    """
    use_threads(run.recipe.run.threads)
    about = read_json(run.path / DATA)
    shape = tuple(about["shape"])
    bounds = None if about["bounds"] is None else (about["bounds"][0], about["bounds"][1])
    stored: dict[str, Any] = {}
    for stage, table in STAGES.items():
        if table in run.recipe.parts and (second or table == "pretrain"):
            if run.done(stage) is None:
                raise RunError(
                    f"{run.path} has not finished its stage {stage}.",
                    f"Finish it: vaebm run --resume {quoted(run.path)}",
                )
            stored.update(run.networks(stage))
    generator = build_generator(run.recipe, shape)
    if generator is not None:
        load(generator, stored, "generator", run.path)
        o = run.recipe.evaluate
        latent = o.temperature if temperature is None else temperature
        head = o.head_temperature if head_temperature is None else head_temperature
        generator = at_temperature(generator.to(device).eval().frozen(), latent, head)
    energy: EnergyFunction | None = None
    if "trainer" in run.recipe.parts and second:
        energy = build_energy(run.recipe, shape)
    if energy is not None:
        load(energy, stored, "energy", run.path)
        energy.to(device).eval().requires_grad_(False)
    sampler = build_sampler(run.recipe, "sampling", bounds) if energy is not None else None
    if generator is None and (sampler is None or sampler.space != "data"):
        raise RunError(
            f"The recipe of {run.path} has no generator, and nothing else to sample from.",
            "Start a run with one: vaebm run --generator NAME",
        )
    return Model(
        generator,
        energy,
        sampler,
        shape,
        bounds,
        run.recipe.evaluate.decoder == "mean",
        run.recipe.evaluate.stretch,
    )


def at_temperature(generator: Generator, latent: tuple[float, ...], head: float) -> Generator:
    """The generator itself where all temperatures are 1."""
    groups = len(generator.groups) - 1
    if len(latent) not in (1, groups):
        raise RecipeError(
            f"evaluate.temperature: {len(latent)} temperatures for {groups} latent groups.",
            f"Give one for all, or {groups}, coarse to fine, e.g. {','.join(['0.7'] * groups)}",
        )
    return generator if set(latent) == {1.0} and head == 1.0 else generator.tempered(latent, head)
