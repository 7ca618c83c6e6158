"""The metric `density`: exact test log-likelihood of models of the plane."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from vaebm_toolkit import DataError, RecipeError
from vaebm_toolkit.core import Autoencoder, Dataset, Fitted, Metric, Model
from vaebm_toolkit.evaluation.density import LogMean, PlaneLikelihood, plane_likelihood

log = logging.getLogger(__name__)


class Density(Metric):
    """Mean test log-likelihood in nats, log Z by quadrature; the samples play no part in it.

    Of h(x) ∝ p_θ(x) exp(−E(x)), of p_θ where there is no energy, of exp(−E(x)) where p_θ is no factor.
    """

    def __init__(self) -> None:
        self.model: Fitted | None = None
        self.protocol: dict[str, Any] = {}

    def check(self, dataset: Dataset) -> None:
        if tuple(dataset.shape) != (2,):
            raise DataError(
                "evaluate.metrics: density is for data of two values, and these have shape "
                f"{tuple(dataset.shape)}.",
                "Leave the metric out; a generator's likelihood: vaebm likelihood RUN",
            )

    def see(self, model: Model) -> None:
        fitted = model.fitted
        if fitted.generator is not None and not isinstance(fitted.generator, Autoencoder):
            kind = type(fitted.generator).__name__
            raise RecipeError(
                f"evaluate.metrics: density needs a generator that can encode, and {kind} gives no "
                "importance weights of p(x).",
                "Leave the metric out, or evaluate at temperature 1 with a generator that has an encoder.",
            )
        self.model = fitted

    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        self.check(dataset)
        assert self.model is not None, "see() comes first"
        like = next(part for part in self.model if part is not None)
        parameter = next(like.parameters())
        x = dataset.test.batch(torch.arange(len(dataset.test))).to(parameter)
        log.info("density: %s on %s points and on a grid of the plane", name(self.model), f"{len(x):,}")
        found = plane_likelihood(self.model, x)
        self.protocol.update({"split": "test", "points": len(x)})
        truth = getattr(dataset, "expected_log_prob", None)
        if truth is not None:
            self.protocol["truth"] = round(float(truth), 4)
            log_prob = getattr(dataset, "log_prob", None)
            if log_prob is not None:
                self.protocol["truth on these points"] = round(float(log_prob(x.double()).mean()), 4)
        self.protocol[name(self.model)] = about(self.model, found)
        return {"log-likelihood": found.nats, "log-likelihood s.e.": found.error}


def name(model: Fitted) -> str:
    """The density in the words of the paper."""
    factors = ["p_θ(x)"] if model.generator is not None else []
    return " ".join([*factors, "exp(−E(x)) / Z"] if model.energy is not None else factors)


def about(model: Fitted, found: PlaneLikelihood) -> dict[str, Any]:
    """How the figure came about, and what would show that it is wrong."""
    part = found.partition
    facts: dict[str, Any] = {
        "grid": f"{found.grid.shape[1]} × {found.grid.shape[0]}, spacing {found.grid.spacing:.3g}",
        "mass at its edge": float(f"{part.edge:.2g}"),
    }
    if found.weights_error:
        facts["s.e. of weights"] = float(f"{found.weights_error:.2g}")
    if part.mass is not None:
        facts["mass of p_θ by weights"] = nats(LogMean(part.mass.value.exp(), part.mass.error))
    if model.energy is not None:
        facts["log Z on the grid"] = f"{part.log_z:.4f} ± {part.error:.4f}"
    if found.by_samples is not None:
        facts["log Z by samples of p_θ"] = nats(found.by_samples)
    return facts


def nats(estimate: LogMean) -> str:
    return f"{float(estimate.value):.4f} ± {float(estimate.error):.4f}"


def density(options: None) -> Metric:
    return Density()
