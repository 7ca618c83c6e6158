"""Metrics that are wrong in one way each."""

from __future__ import annotations

import torch

from vaebm_toolkit.core import Metric


class Healthy(Metric):
    """|mean of the samples − mean of the test split|."""

    def __init__(self, options):
        self.protocol = {}

    def compute(self, samples, dataset):
        total, n = 0.0, 0
        for x in samples:
            total, n = total + float(x.double().sum()), n + x.numel()
        reference = float(dataset.test.batch(torch.arange(len(dataset.test))).double().mean())
        self.protocol = {"values": n}
        return {"distance": abs(total / n - reference)}


class MeanOfBatches(Healthy):
    def compute(self, samples, dataset):
        means = [float(x.double().amax()) for x in samples]
        return {"distance": sum(means) / len(means)} | {"batches": 0.0} | self.said(dataset)

    def said(self, dataset):
        self.protocol = {"split": "test"}
        return {}


class Tensors(Healthy):
    def compute(self, samples, dataset):
        return {k: torch.tensor(v) for k, v in super().compute(samples, dataset).items()}


class NotANumber(Healthy):
    def compute(self, samples, dataset):
        return {"distance": super().compute(samples, dataset)["distance"] * float("nan")}


class ReadsTwice(Healthy):
    def compute(self, samples, dataset):
        count = sum(len(x) for x in samples)
        found = super().compute(list(samples) or [torch.zeros(1)], dataset)
        return {"distance": found["distance"] / count}


class Remembers(Healthy):
    seen = ()

    def compute(self, samples, dataset):
        self.seen = [*self.seen, *samples]
        return super().compute(self.seen, dataset)


class GlobalDraws(Healthy):
    def compute(self, samples, dataset):
        x = torch.cat(list(samples))
        return super().compute([x[torch.randperm(len(x))]], dataset)


class IgnoresSamples(Healthy):
    def compute(self, samples, dataset):
        n = sum(len(x) for x in samples)
        self.protocol = {"samples": n}
        return {"distance": 0.5, "samples": float(n)}


class Writes(Healthy):
    def compute(self, samples, dataset):
        return super().compute([x.sub_(x.mean()) for x in samples], dataset)


class NoProtocol(Healthy):
    def compute(self, samples, dataset):
        found = super().compute(samples, dataset)
        self.protocol = {}
        return found


class CrashesOnVectors(Healthy):
    def compute(self, samples, dataset):
        return super().compute([x[:, :, ::2, ::2] for x in samples], dataset)
