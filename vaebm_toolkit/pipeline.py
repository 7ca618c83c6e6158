"""The whole job: data, generator stage, energy stage, samples, figures."""

from __future__ import annotations

import threading
from typing import Any

import torch

from vaebm_toolkit.building import build_buffer, build_energy, build_generator, build_sampler, build_trainer
from vaebm_toolkit.core import Dataset, Generator, Horizon, Metric, ranks, stream
from vaebm_toolkit.errors import quoted
from vaebm_toolkit.options import derived_values
from vaebm_toolkit.recipe import Recipe
from vaebm_toolkit.registry import Registry
from vaebm_toolkit.results import Diverged, Evaluation, Results
from vaebm_toolkit.trained import load
from vaebm_toolkit.training.batches import Batches
from vaebm_toolkit.training.device import use_threads
from vaebm_toolkit.training.files import write_json
from vaebm_toolkit.training.fit import Interrupted, Reporter, fit, horizon_of
from vaebm_toolkit.training.prefetch import ahead
from vaebm_toolkit.training.rundir import DATA, STAGES, RunDirectory
from vaebm_toolkit.training.shards import Shards


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
        self.stages()
        return self.evaluation()

    def stages(self) -> None:
        """Train both stages; over several ranks, by all of them."""
        use_threads(self.recipe.run.threads)
        self.describe()
        dataset = self.dataset
        if ranks.rank() == 0:
            write_json(
                self.run.path / DATA,
                {"shape": list(dataset.shape), "bounds": dataset.bounds, "train": len(dataset.train),
                 "test": len(dataset.test)},
            )  # fmt: skip
        generator = self.generator_stage(dataset)
        self.energy_stage(dataset, generator)

    def draw(self) -> None:
        """Make the samples that will be judged, by all ranks; in one process they are made when asked for."""
        if self.recipe.evaluate.samples and ranks.world() > 1:
            self.judgement(self.dataset).draw()

    def evaluation(self) -> Results | None:
        """The recipe's own; by one process. None where the recipe asks for no samples."""
        return self.results(self.dataset) if self.recipe.evaluate.samples else None

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
        if not self.done("pretrain"):
            outcome = self.train("pretrain", dataset, {"generator": generator})
            if outcome.diverged:
                raise Diverged(
                    f"The generator stage stopped: {outcome.stopped}.",
                    "Start again with a smaller --pretrain.lr, or go on with what is there: "
                    f"vaebm run --generator-from {quoted(self.run.path)}",
                )
        networks = ranks.from_first(lambda: self.run.networks("pretrain"))
        load(generator, networks, "generator", self.run.path)
        return generator.eval()

    def done(self, stage: str) -> bool:
        """Whether the stage has ended, as rank 0 sees it."""
        return ranks.from_first(lambda: self.run.done(stage) is not None)

    def energy_stage(self, dataset: Dataset, generator: Generator | None) -> None:
        if "trainer" not in self.recipe.parts or self.done("train"):
            return
        with seeded(self.seed, "energy"):
            energy = build_energy(self.recipe, dataset.shape)
        buffer = build_buffer(self.recipe)
        parts = {
            "dataset": dataset,
            "generator": generator,
            "energy": None if energy is None else energy.to(self.device),
            "sampler": build_sampler(self.recipe, "sampler", dataset.bounds),
            "buffer": None if buffer is None else Shards(buffer, self.run.path),
        }
        self.train("train", dataset, parts)

    def train(self, stage: str, dataset: Dataset, parts: dict[str, Any]) -> Any:
        table = STAGES[stage]
        settings = self.recipe.parts[table].stage
        assert settings is not None, "resolve gives every trainer its stage options"
        batches, horizon = plan(self.recipe, stage, dataset)
        trainer = build_trainer(self.recipe, table, horizon, parts)
        with ahead(batches, horizon.steps, self.device) as made:
            return fit(
                self.run, stage, trainer, made, horizon, settings,
                self.registry, self.reporter, self.device, self.stop,
            )  # fmt: skip

    def results(self, dataset: Dataset) -> Results:
        """The recipe's own evaluation."""
        return self.judgement(dataset).results()

    def judgement(self, dataset: Dataset) -> Evaluation:
        return Evaluation(
            self.run, dataset, self.device,
            metrics=self.metrics, note=self.reporter.note, stop=self.stop_if_asked,
        )  # fmt: skip

    def stop_if_asked(self) -> None:
        """Ends the run between two batches of samples if the user asked for it."""
        if self.stop is not None and self.stop.is_set():
            raise Interrupted(
                "Stopped while sampling; the trained networks and the samples so far are kept.",
                f"Continue: vaebm run --resume {quoted(self.run.path)}",
            )


def plan(recipe: Recipe, stage: str, dataset: Dataset) -> tuple[Batches, Horizon]:
    """A stage's batches and its length."""
    table, seed = STAGES[stage], recipe.run.seed
    settings = recipe.parts[table].stage
    assert settings is not None, "resolve gives every trainer its stage options"
    batches = Batches(dataset.train, settings.batch_size, seed, stage)
    return batches, horizon_of(settings, batches.steps_per_epoch, seed, table)


class seeded:
    """Weights of new networks from the run's seed; the global generator is put back after."""

    def __init__(self, seed: int, name: str) -> None:
        self.key = stream(seed, "weights", name).initial_seed()

    def __enter__(self) -> None:
        self.before = torch.random.get_rng_state()
        torch.default_generator.manual_seed(self.key)

    def __exit__(self, *_: object) -> None:
        torch.random.set_rng_state(self.before)
