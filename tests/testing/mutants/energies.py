"""Energies that are wrong in one way each."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import EnergyFunction, NormalisedConv2d


class Healthy(EnergyFunction):
    def __init__(self, options, shape: tuple[int, ...]) -> None:
        super().__init__()
        size = torch.Size(shape).numel()
        self.hidden = nn.Linear(size, options.width)
        self.out = nn.Linear(options.width, 1)

    def features(self, x: Tensor) -> Tensor:
        return F.silu(self.hidden(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x)).squeeze(1)


class PerUnit(Healthy):
    def __init__(self, options, shape):
        super().__init__(options, shape)
        self.share = 1 / options.width

    def forward(self, x):
        return super().forward(x) * self.share


class BatchCentred(Healthy):
    def forward(self, x):
        e = super().forward(x)
        return e - e.mean()


class CentredInTraining(Healthy):
    def forward(self, x):
        e = super().forward(x)
        return e - e.mean() if self.training else e


class Detached(Healthy):
    def forward(self, x):
        return super().forward(x.detach())


class Rounded(Healthy):
    """A straight-through estimator: the gradient is not that of the function."""

    def forward(self, x):
        h = 4 * x
        return super().forward(h + ((h + 0.1 * h.sin() * h) - h).detach())


class UnusedLayer(Healthy):
    def __init__(self, options, shape):
        super().__init__(options, shape)
        self.spare = nn.Linear(options.width, options.width)


class NoisyForward(Healthy):
    def forward(self, x):
        return super().forward(x + 0.01 * torch.randn_like(x))


class Dropout(Healthy):
    def features(self, x):
        return F.dropout(super().features(x), 0.1, self.training)


class Remembers(Healthy):
    """A running mean that also runs in eval mode."""

    def __init__(self, options, shape):
        super().__init__(options, shape)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        with torch.no_grad():
            self.mean.lerp_(x.mean(), 0.1)
        return super().forward(x) - self.mean


class WritesInput(Healthy):
    def forward(self, x):
        return super().forward(x.detach().sub_(0.5) if not x.requires_grad else x - 0.5)


class PlainTensor(Healthy):
    def __init__(self, options, shape):
        super().__init__(options, shape)
        self.scale = torch.full((options.width,), 0.5)

    def features(self, x):
        return super().features(x) * self.scale.to(x)


class MadeOnCpu(Healthy):
    def features(self, x):
        h = super().features(x)
        return h * torch.linspace(0, 1, h.shape[1], dtype=h.dtype, device="cpu")


class PlainList(Healthy):
    def __init__(self, options, shape):
        super().__init__(options, shape)
        self.hidden = [self._modules.pop("hidden")]

    def features(self, x):
        return F.silu(self.hidden[0](x.flatten(1)))


class AsksValues(Healthy):
    def forward(self, x):
        if x.max() > 1.5:
            x = x / 1.0
        return super().forward(x)


class NotSaved(Healthy):
    """Random features without the seed."""

    def __init__(self, options, shape):
        super().__init__(options, shape)
        self.register_buffer("directions", torch.randn(options.width), persistent=False)

    def features(self, x):
        return super().features(x) * self.directions


class RootOfZero(Healthy):
    def forward(self, x):
        return super().forward(x) + x.flatten(1).square().sum(1).sqrt()


class Column(Healthy):
    def forward(self, x):
        return self.out(self.features(x))


class OneNumber(Healthy):
    def forward(self, x):
        return super().forward(x).sum()


class CastInside(Healthy):
    def forward(self, x):
        weights = {k: v.float() for k, v in self.named_parameters()}
        h = F.silu(F.linear(x.float().flatten(1), weights["hidden.weight"], weights["hidden.bias"]))
        return F.linear(h, weights["out.weight"], weights["out.bias"]).squeeze(1)


class Scaled(NormalisedConv2d):
    def normalised_weight(self) -> Tensor:
        return self.weight / (1 + self.weight.abs().sum())

    def forward(self, x):
        if self.held_weight is not None:
            return super().forward(x)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class HeldWrongly(EnergyFunction):
    """`normalised_weight` is not what forward computes with."""

    def __init__(self, options, shape):
        super().__init__()
        if len(shape) != 3:
            raise RecipeError("For images alone.", "Take images.")
        self.conv = Scaled(shape[0], options.width, 3, padding=1)
        self.out = nn.Linear(options.width, 1)

    def forward(self, x):
        return self.out(F.silu(self.conv(x)).mean((2, 3))).squeeze(1)


class ImagesAlone(EnergyFunction):
    """Fails on vectors when it is called, not when it is built."""

    def __init__(self, options, shape):
        super().__init__()
        self.conv = nn.Conv2d(shape[0], options.width, 3, padding=1)
        self.out = nn.Linear(options.width, 1)

    def forward(self, x):
        return self.out(F.silu(self.conv(x)).mean((2, 3))).squeeze(1)


class DividesByStd(Healthy):
    @torch.no_grad()
    def initialise(self, x):
        self.hidden.weight.div_(x[:4].std(0).flatten())


class SharedByCopies(Healthy):
    """A layer kept out of the module's sight, so that every copy has the same one."""

    store: ClassVar[list[nn.Parameter]] = []

    def __init__(self, options, shape):
        super().__init__(options, shape)
        self.store.append(self.hidden.weight)
        self.place = len(self.store) - 1

    def features(self, x):
        return F.silu(F.linear(x.flatten(1), self.store[self.place].to(x), self.hidden.bias))


def other_keyword(options, data_shape):
    return Healthy(options, data_shape)
