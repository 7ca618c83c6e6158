"""Which logged series stand together in one picture, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vaebm_toolkit.report.charts import Chart, curves
from vaebm_toolkit.report.reading import RunFacts


class Plot(NamedTuple):
    title: str
    what: str
    names: tuple[str, ...]


PLOTS = (
    Plot("ELBO", "nats per example, without KL warm-up", ("elbo",)),
    Plot("KL", "nats per example, all latent groups together", ("kl",)),
    Plot("KL coefficient", "of the KL in the loss", ("kl_coefficient",)),
    Plot("Energy gap", "E(data) − E(samples), means over a batch",
         ("energy_gap",)),
    Plot("Energies", "means over a batch, of data and of chain ends", ("energy_data", "energy_samples")),
    Plot("Loss", "of each network, penalties included",
         ("generator_loss", "energy_loss", "critic_loss", "decoder_loss")),
    Plot("Gradient norm", "of each network's weights, before clipping",
         ("generator_grad_norm", "energy_grad_norm", "critic_grad_norm", "decoder_grad_norm")),
    Plot("Buffer", "share of chains that go on from stored ones, and how full the store is",
         ("chain_reused", "chain_fill")),
    Plot("Chain log density", "mean over the chain's steps", ("chain_log_prob",)),
    Plot("Chain gradient norm", "of the log density", ("chain_grad_norm",)),
    Plot("Spectral penalty", "sum over layers, before its coefficient", ("spectral", "penalty")),
    Plot("Accepted jumps", "share of moves to fresh draws of the prior", ("jumps_accepted",)),
    Plot("Seconds per step", "of training", ("seconds_per_step",)),
)  # fmt: skip


class StageCharts(NamedTuple):
    title: str
    charts: list[Chart]


def charts(runs: Sequence[RunFacts]) -> list[StageCharts]:
    """Every logged series, stage by stage; of several runs one over the other."""
    stages = dict.fromkeys((s.name, s.title) for r in runs for s in r.stages)
    found = []
    for name, title in stages:
        logged = {r.name: s.series for r in labelled(runs) for s in r.facts.stages if s.name == name}
        drawn = list(of_stage(logged))
        if drawn:
            found.append(StageCharts(title, drawn))
    return found


class Labelled(NamedTuple):
    name: str
    facts: RunFacts


def labelled(runs: Sequence[RunFacts]) -> list[Labelled]:
    """Runs under names that tell them apart: the folder's, or the whole path where two have the same."""
    names = [r.name for r in runs]
    return [Labelled(r.name if names.count(r.name) == 1 else str(r.path), r) for r in runs]


def of_stage(logged: Mapping[str, Mapping[str, list[tuple[float, float | None]]]]) -> list[Chart]:
    keys = dict.fromkeys(k for series in logged.values() for k in series)
    known = {n for p in PLOTS for n in p.names}
    plots = [*PLOTS[:-1], *(Plot(k, "", (k,)) for k in keys if k not in known), PLOTS[-1]]
    found = []
    for plot in plots:
        present = [n for n in plot.names if n in keys]
        if not present:
            continue
        if len(logged) == 1:
            (series,) = logged.values()
            found.append(curves(plot.title, plot.what, {n: series[n] for n in present}))
            continue
        for n in present:
            title = plot.title if len(present) == 1 else f"{plot.title}: {n}"
            lines = {run: series[n] for run, series in logged.items() if n in series}
            found.append(curves(title, plot.what, lines))
    return found
