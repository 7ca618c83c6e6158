"""Feature spaces that are wrong in one way each."""

from __future__ import annotations

import torch

from vaebm_toolkit.core import Features, stream


class Healthy(Features):
    """Random projections."""

    def __init__(self, options, dataset):
        self.about = {"features": "projections"}
        size = torch.Size(dataset.shape).numel()
        self.matrix = torch.randn((size, 5), generator=stream(0, "projections"), dtype=torch.float32)

    def __call__(self, x):
        return x.flatten(1) @ self.matrix


class NormalisedByBatch(Healthy):
    def __call__(self, x):
        f = super().__call__(x)
        return f - f.mean(0)


class OtherEachTime(Healthy):
    def __init__(self, options, dataset):
        super().__init__(options, dataset)
        self.matrix = torch.randn(self.matrix.shape, dtype=torch.float32)


class Noisy(Healthy):
    def __call__(self, x):
        return super().__call__(x + 0.01 * torch.randn_like(x))


class Unflattened(Healthy):
    def __call__(self, x):
        return x[:, None]


class InPlace(Healthy):
    def __call__(self, x):
        return super().__call__(x.sub_(0.5))


class Constant(Healthy):
    def __call__(self, x):
        return torch.ones(len(x), 5)


class Whole(Healthy):
    def __call__(self, x):
        return super().__call__(x).long()


class Silent(Healthy):
    def __init__(self, options, dataset):
        super().__init__(options, dataset)
        self.about = {}
