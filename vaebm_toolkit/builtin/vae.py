"""Stage one: the generator by its ELBO."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adamax, Optimizer

from vaebm_toolkit.builtin.trainers import VaeOptions
from vaebm_toolkit.core import (
    Autoencoder,
    BatchNormPenalty,
    Horizon,
    SpectralPenalty,
    Trainer,
    Update,
    adam,
    ranks,
    set_lr,
    warmup_cosine,
)


class VaeTrainer(Trainer):
    """Minimises E[−log p(x|z) + β Σ_g c_g KL_g] + λ (spectral + BatchNorm) (NVAE, section 3)."""

    def __init__(self, options: VaeOptions, horizon: Horizon, generator: Autoencoder) -> None:
        self.options, self.horizon, self.generator = options, horizon, generator
        self.players = {"generator": generator}
        settings: dict[str, Any] = {"lr": options.lr, "weight_decay": options.weight_decay}
        self.optimizer: Optimizer
        if options.optimizer == "adamax":  # 1e-3 is the eps of NVAE's
            self.optimizer = Adamax(generator.parameters(), eps=1e-3, **settings)
        else:
            self.optimizer = adam(generator.parameters(), eps=1e-8, **settings)
        if options.grad_clip is not None:
            weights, limit = list(generator.parameters()), options.grad_clip
            self.optimizer.register_step_pre_hook(lambda *_: clip_norm(weights, limit))
        self.spectral = SpectralPenalty(generator, seed=horizon.seed)
        self.batch_norm = BatchNormPenalty(generator)

    def optimizers(self) -> Mapping[str, Optimizer]:
        return {"generator": self.optimizer}

    def prepare(self, batches: Iterator[Tensor], rng: torch.Generator) -> None:
        self.generator.initialise(next(batches))

    def updates(self, x: Tensor, step: int, rng: torch.Generator) -> Iterator[Update]:
        o, h = self.options, self.horizon
        set_lr(
            self.optimizer,
            warmup_cosine(
                step + 1, peak=o.lr, floor=o.lr_min, total=h.steps,
                warmup=round(o.warmup_epochs * h.steps_per_epoch),
            ),
        )  # fmt: skip
        beta = kl_coefficient(step, h.steps, o.kl_anneal, o.kl_start, o.kl_constant)
        elbo = self.generator.elbo(x, rng)
        weights = torch.ones_like(elbo.kl[0])
        if o.kl_balance and beta < 1:
            weights = balance(elbo.kl, group_sizes(self.generator))
        loss = (beta * (weights * elbo.kl).sum(1) - elbo.log_px).mean()
        metrics = {
            "elbo": (elbo.log_px - elbo.kl.sum(1)).mean(),
            "kl": elbo.kl.sum(1).mean(),
            "kl_coefficient": torch.tensor(beta),
        }
        strength = penalty_strength(beta, o.spectral_bn, o.spectral_bn_start)
        if strength > 0 and self.spectral.convolutions:
            penalty = self.spectral() + self.batch_norm()
            loss = loss + strength * penalty
            metrics["penalty"] = penalty
        yield Update("generator", loss, metrics)

    def finish(self, rng: torch.Generator) -> None:
        o = self.options
        if o.bn_passes:
            self.generator.recalibrate(o.bn_passes, o.bn_batch_size, rng, o.bn_temperature)

    def extra_state(self) -> dict[str, Any]:
        return {"spectral": self.spectral.state_dict()}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        self.spectral.load_state_dict(state["spectral"])


def clip_norm(weights: list[Tensor], limit: float) -> None:
    """Scale the gradient of all weights together to norm `limit` where it is longer."""
    torch.nn.utils.clip_grad_norm_(weights, limit)


def kl_coefficient(step: int, steps: int, anneal: float, start: float, constant: float = 0.0) -> float:
    """β = max(min((step − constant · steps) / (anneal · steps), 1), start) (NVAE, appendix A)."""
    return max(min((step - constant * steps) / max(anneal * steps, 1e-9), 1.0), start)


def penalty_strength(beta: float, final: float, start: float | None) -> float:
    """λ, or exp((1 − β) log λ_start + β log λ) where it is annealed (NVAE, appendix A)."""
    if start is None or final == 0:
        return final
    return math.exp((1 - beta) * math.log(start) + beta * math.log(final))


def group_sizes(generator: Autoencoder) -> list[int]:
    """Spatial size H·W of each latent group, 1 for vectors."""
    return [math.prod(shape[1:]) for name, shape in generator.groups.items() if name != "x"]


def balance(kl: Tensor, sizes: list[int]) -> Tensor:
    """Coefficients c_g of the groups' KL terms, (G,), mean 1, detached (NVAE, appendix A).

    c_g ∝ (E|KL_g| + 0.01) / a_g with a_g = (size_g / smallest size) / groups of that size,
    relative to the smallest a: groups far from their share of information are pushed less. E is the
    mean over the batch, that of all ranks.

    kl: (B, G) nats; sizes: H·W per group.
    """
    share = shares(tuple(sizes), kl.dtype, kl.device)
    magnitude = ranks.mean(kl.detach().abs().mean(0)) + 0.01
    weights = magnitude / share * magnitude.sum()
    return weights / weights.mean()


@functools.lru_cache(maxsize=16)
def shares(sizes: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """a_g relative to the smallest, (G,). Kept: a copy to the device waits for all that runs there."""
    found = torch.tensor([s / min(sizes) / sizes.count(s) for s in sizes], dtype=dtype, device=device)
    return found / found.min()
