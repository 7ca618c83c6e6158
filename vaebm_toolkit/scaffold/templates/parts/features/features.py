"""Random projections: a space without training, the same for everyone with the same seed."""

import math

import torch
from torch import Tensor

from vaebm_toolkit.core import Dataset, Features, randn, stream

from . import Options


class Projections(Features):
    """f(x) = Rᵀx, R_ij ~ N(0, 1/d), so that E‖f(x) − f(y)‖² = ‖x − y‖²."""

    def __init__(self, options: Options, dataset: Dataset) -> None:
        shape = (math.prod(dataset.shape), options.dimension)
        rng = stream(options.seed, "projections")
        self.matrix = randn(shape, rng, dtype=torch.float32) / options.dimension**0.5
        self.about = {"features": f"{options.dimension} random projections", "seed": options.seed}

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """(B, *data shape) -> (B, d) float32"""
        return x.flatten(1).to("cpu", torch.float32) @ self.matrix


def build(options: Options, dataset: Dataset) -> Projections:
    return Projections(options, dataset)
