"""An energy-based model of the data alone: p(x) ∝ exp(−E(x)), trained as IGEBM is."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebm_toolkit import RecipeError
from vaebm_toolkit.builtin.contrast import ContrastTrainer
from vaebm_toolkit.builtin.trainers import EbmOptions
from vaebm_toolkit.core import (
    Buffer,
    Dataset,
    EnergyFunction,
    Generator,
    Horizon,
    Sampler,
    State,
    data_noise,
    generated,
)


class EbmTrainer(ContrastTrainer):
    """Chains on exp(−E(x)) run on the data themselves (Du & Mordatch, IGEBM, algorithm 1).

    They start from noise over the data's range, or from the generator's samples (the ablation of
    VAEBM's appendix), which then are no part of the density.
    """

    name, spaces, usual_sampler = "ebm", ("data",), "data-ld"
    options: EbmOptions

    def __init__(
        self,
        options: EbmOptions,
        horizon: Horizon,
        generator: Generator | None,
        energy: EnergyFunction,
        sampler: Sampler,
        buffer: Buffer | None,
        dataset: Dataset | None,
    ) -> None:
        wanted = options.start == "generator"
        if wanted and generator is None:
            raise RecipeError(
                "trainer.start: chains cannot start from a generator's samples without a generator.",
                "Choose one with --generator NAME or --generator-from RUN, or start from noise: "
                "--trainer.start noise",
            )
        super().__init__(options, horizon, generator if wanted else None, energy, sampler, buffer)
        self.bounds = sampler.bounds if dataset is None else dataset.bounds

    def start(self, x: Tensor, rng: torch.Generator) -> State:
        if self.generator is not None:
            return generated(self.generator, self.bounds, len(x), rng, like=x)
        return data_noise(tuple(x.shape[1:]), self.bounds, len(x), rng, like=x)

    def decode(self, end: State) -> Tensor:
        return end["x"]
