"""Data sets that are wrong in one way each."""

from __future__ import annotations

import torch

from vaebm_toolkit.core import Dataset, Split, stream


class Part(Split):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def batch(self, indices, rng=None):
        x = self.x[indices]
        if rng is not None:
            flip = torch.rand(len(x), generator=rng) < 0.5
            x = torch.where(flip[:, None, None, None], x.flip(3), x)
        return x

    def labels(self):
        return self.y


class Healthy(Dataset):
    shape = (1, 6, 6)
    bounds = (0.0, 1.0)
    part = Part

    def __init__(self, options):
        rng = stream(options.seed, "healthy")
        x = torch.rand((120, *self.shape), generator=rng, dtype=torch.float32)
        y = torch.arange(120) % 3
        self.train, self.test = self.splits(x, y)

    def splits(self, x, y):
        return self.part(x[:80], y[:80]), self.part(x[80:], y[80:])


class Bytes(Healthy):
    def splits(self, x, y):
        return super().splits((255 * x).floor(), y)


class DividedTwice(Healthy):
    def splits(self, x, y):
        return super().splits(x / 255, y)


class Doubles(Healthy):
    def splits(self, x, y):
        return super().splits(x.double(), y)


class ChannelsLast(Healthy):
    def splits(self, x, y):
        return super().splits(x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1), y)


class AlwaysAugments(Healthy):
    class part(Part):
        def batch(self, indices, rng=None):
            x = self.x[indices]
            return x.flip(3) if torch.rand(()) < 0.5 else x


class OwnStream(Healthy):
    class part(Part):
        calls = 0

        def batch(self, indices, rng=None):
            if rng is None:
                return super().batch(indices)
            Part.calls = getattr(Part, "calls", 0) + 1
            return super().batch(indices, stream(Part.calls, "mine"))


class Sorted(Healthy):
    class part(Part):
        def batch(self, indices, rng=None):
            return super().batch(indices.sort().values, rng)


class NormalisedByBatch(Healthy):
    class part(Part):
        def batch(self, indices, rng=None):
            x = super().batch(indices, rng)
            return (x - x.min()) / (x.max() - x.min() + 1e-6)


class Views(Healthy):
    class part(Part):
        def batch(self, indices, rng=None):
            return self.x[int(indices[0]) : int(indices[-1]) + 1] if len(indices) > 1 else self.x[indices]


class TestIsTrain(Healthy):
    def splits(self, x, y):
        return self.part(x, y), self.part(x[:40], y[:40])


class ShuffledAnew(Healthy):
    def splits(self, x, y):
        order = torch.randperm(len(x))
        return super().splits(x[order], y[order])


class LabelsAsFloats(Healthy):
    def splits(self, x, y):
        return super().splits(x, y.float())


class LabelsFromOne(Healthy):
    def splits(self, x, y):
        return super().splits(x, y - 1)


class NotFinite(Healthy):
    def splits(self, x, y):
        x[3, 0, 0, 0] = float("nan")
        return super().splits(x, y)
