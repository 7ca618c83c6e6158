"""The page of one run, or of several beside each other: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined

from vaebm_toolkit import __version__
from vaebm_toolkit.errors import RunError, ToolkitError, quoted
from vaebm_toolkit.registry import Registry, installed
from vaebm_toolkit.report import embedding as e
from vaebm_toolkit.report.charts import Chart, curves, histogram
from vaebm_toolkit.report.drawing import Drawn, Missing, draw
from vaebm_toolkit.report.pictures import around
from vaebm_toolkit.report.reading import RunFacts, facts
from vaebm_toolkit.report.series import StageCharts, charts, labelled
from vaebm_toolkit.report.tables import Metric, duration, metrics, recipe_differences, words
from vaebm_toolkit.training.device import choose_device
from vaebm_toolkit.training.estimate import describe
from vaebm_toolkit.training.files import write

NAMES = {"data": "Held-out data", "train": "Training data", "generator": "Generator alone"}


class RunView(NamedTuple):
    """What the page shows of one run."""

    key: str
    """a prefix of the anchors"""
    name: str
    facts: RunFacts
    overview: list[tuple[str, str]]
    cost: list[str]
    grids: list[e.Tiles]
    ranked: list[e.Tiles]
    panels: list[e.Panel]
    film: e.Film | None
    chain_panels: list[e.Panel]
    chain_chart: Chart | None
    energies: Chart | None
    reconstructions: list[e.Tiles]
    paths: list[e.Tiles]
    metrics: list[Metric]
    pictures: list[e.Panel]
    """of the metrics"""
    charts: list[StageCharts]
    missing: list[Missing]


def write_report(
    runs: Sequence[Path],
    out: Path,
    device: torch.device | None = None,
    registry: Registry | None = None,
) -> Path:
    """Write the page of these runs to `out`, and return it.

    What the networks show is drawn again from the run's own seeds, on `device`; what a run has not come to is
    named on the page with the command that makes it.
    """
    if not runs:
        raise RunError("A report needs a run.", "Name one: vaebm report RUN")
    if out.is_dir():
        raise RunError(
            f"{out} is a folder, not a file.", f"Name the page: --out {quoted(out / 'report.html')}"
        )
    registry = installed() if registry is None else registry
    device = choose_device("auto") if device is None else device
    found = [facts(path, registry) for path in dict.fromkeys(runs)]
    views = [
        view(f"r{i}-" if len(found) > 1 else "", name, f, registry, device)
        for i, (name, f) in enumerate(labelled(found))
    ]
    write(out, page(views, registry))
    return out


def page(views: list[RunView], registry: Registry) -> str:
    """The HTML of these runs."""
    environment = Environment(
        loader=PackageLoader("vaebm_toolkit.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(words=words, duration=duration)
    several = len(views) > 1
    every = [(f"{v.name} · {title(r.model)}", r) for v in views for r in v.facts.records]
    runs = [v.facts for v in views]
    return environment.get_template("page.html").render(
        views=views,
        several=several,
        columns=list(dict.fromkeys(k for v in views for k, _ in v.overview if k != "Training time")),
        heading=views[0].name if not several else f"{len(views)} runs",
        differences=recipe_differences(runs) if several else [],
        metrics=metrics(every, registry) if several else [],
        charts=charts(runs) if several else [],
        version=__version__,
    )


def view(key: str, name: str, run: RunFacts, registry: Registry, device: torch.device) -> RunView:
    drawn = draw(run, device)
    missing = [*unfinished(run), *drawn.missing]
    rows = [(title(r.model), r) for r in run.records]
    image = len(drawn.shape) == 3
    return RunView(
        key, name, run, overview(run), cost(run),
        grids(drawn) if image else [],
        ranked(drawn) if image else [],
        panels(drawn) if not image else [],
        film(drawn) if image else None,
        chain_panels(drawn) if not image else [],
        chain_chart(drawn),
        energy_histogram(drawn),
        reconstructions(drawn), paths(drawn),
        metrics(rows, registry), metric_pictures(run, missing), charts([run]), missing,
    )  # fmt: skip


def title(model: str) -> str:
    return NAMES.get(model, model)


def unfinished(run: RunFacts) -> list[Missing]:
    """What the run's directory does not hold, and how to make it."""
    found = [Missing("A damaged file", e.message, e.fix) for e in run.damaged]
    for s in run.stages:
        if s.state in ("not finished", "not begun"):
            found.append(Missing(s.title, f"It is {s.state}.", f"Go on: {run.resume}"))
    if not run.directory.recipe.parts.get("trainer"):
        fix = f"Train one: vaebm run --generator-from {quoted(run.path)}"
        found.append(Missing("Energy", "This run is a generator alone.", fix))
    if not run.records:
        samples = run.directory.recipe.evaluate.samples
        fix = f"Measure: {run.resume}" if samples else f"Measure: vaebm evaluate {quoted(run.path)}"
        found.append(Missing("Metrics", "Nothing was measured.", fix))
    return found


def overview(run: RunFacts) -> list[tuple[str, str]]:
    """The facts at the top."""
    recipe, data = run.directory.recipe, run.data
    size = data.get("shape", ())
    shape = " × ".join(map(str, size)) if len(size) != 1 else f"{size[0]} coordinates"
    sizes = f", {data['train']:,} to train on, {data['test']:,} held out" if "train" in data else ""
    found = [("Data", f"{recipe.names['dataset']}" + (f", {shape}" if shape else "") + sizes)]
    for table, label in (("generator", "Generator"), ("energy", "Energy")):
        if table in recipe.parts:
            found.append((label, recipe.names[table]))
    for table, label in (("sampler", "Chains in training"), ("sampling", "Chains at test time")):
        if table in recipe.parts:
            o = recipe.tables()[table]
            told = f", {words(o['steps'])} steps" if "steps" in o else ""
            told += f" of size {words(o['step_size'])}" if "step_size" in o else ""
            found.append((label, f"{o['name']}{told}"))
    found += [("Seed", str(recipe.run.seed)), ("Training time", duration(run.seconds))]
    return found


def cost(run: RunFacts) -> list[str]:
    """Parameters, memory and arithmetic; empty where they cannot be estimated."""
    try:
        return describe(run.directory.recipe).splitlines()
    except (ToolkitError, RuntimeError):
        return []


def metric_pictures(run: RunFacts, missing: list[Missing]) -> list[e.Panel]:
    """What the metrics left to be looked at."""
    found = []
    for r in run.records:
        for name, file in r.pictures.items():
            what = f"{name[:1].upper()}{name[1:]}: {title(r.model)}, {r.metric}{r.suffix}"
            try:
                found.append(e.kept(run.path / file, what))
            except (OSError, ValueError) as error:
                fix = f"vaebm evaluate {quoted(run.path)} --metric {r.metric}"
                missing.append(Missing(what, f"{file} cannot be read: {error}.", fix))
    return found


def mean(drawn: Drawn, name: str) -> str:
    found = drawn.energies.get(name)
    return "" if found is None else f"mean energy of {len(found):,}: {e.short_energy(float(found.mean()))}"


def grids(drawn: Drawn) -> list[e.Tiles]:
    return [
        e.grid(title(name), mean(drawn, name), x, drawn.energies.get(name), title(name))
        for name, x in drawn.sets.items()
    ]


def ranked(drawn: Drawn) -> list[e.Tiles]:
    return [
        e.by_energy(title(name), x, drawn.energies[name], title(name))
        for name, x in drawn.sets.items()
        if name in drawn.energies
    ]


def panels(drawn: Drawn) -> list[e.Panel]:
    """Points of every set on common axes, and the learned density."""
    if not drawn.sets or next(iter(drawn.sets.values())).shape[1] < 2:
        return []
    limits = around(next(iter(drawn.sets.values()))[:, :2])
    found = [e.points_panel(title(name), x, limits) for name, x in drawn.sets.items()]
    if drawn.density is not None:
        found.append(e.density_panel("Learned density", drawn.density, limits))
    return found


def film(drawn: Drawn) -> e.Film | None:
    return None if drawn.chains is None else e.film(drawn.chains, "")


def chain_panels(drawn: Drawn) -> list[e.Panel]:
    chains = drawn.chains
    if chains is None or chains.frames[0].shape[1] < 2:
        return []
    limits = around(drawn.sets.get("data", chains.frames[-1])[:, :2])
    return [
        e.points_panel(f"Step {k}", x, limits, 280) for k, x in zip(chains.steps, chains.frames, strict=True)
    ]


def chain_chart(drawn: Drawn) -> Chart | None:
    """The energies along the chains of the film, or their quartiles where they are many."""
    chains = drawn.chains
    if chains is None or len(chains.steps) < 2:
        return None
    values = torch.stack(chains.energies)
    middle = {
        "upper quartile": values.quantile(0.75, 1),
        "median": values.median(1).values,
        "lower quartile": values.quantile(0.25, 1),
    }
    lines = {
        k: [(float(s), float(y)) for s, y in zip(chains.steps, v, strict=True)] for k, v in middle.items()
    }
    return curves("Energy along the chains", f"{values.shape[1]} of them", lines)


def energy_histogram(drawn: Drawn) -> Chart | None:
    if not drawn.energies:
        return None
    values = {title(k): v.tolist() for k, v in drawn.energies.items()}
    return histogram(
        "Energies", "low means likely; the outermost bins hold what lies outside", values, "energy"
    )


def reconstructions(drawn: Drawn) -> list[e.Tiles]:
    if drawn.reconstructions is None:
        return []
    x, back = drawn.reconstructions
    return [e.strip("Held-out examples", x, "Example"), e.strip("Reconstructions", back, "Reconstruction")]


def paths(drawn: Drawn) -> list[e.Tiles]:
    if drawn.paths is None:
        return []
    return [e.strip(f"Walk {i + 1}", walk, f"Walk {i + 1}, picture") for i, walk in enumerate(drawn.paths)]
