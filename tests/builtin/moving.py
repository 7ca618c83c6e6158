"""Small pairs of networks for trainers that move the generator, and the loop that steps them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vaebm_toolkit.builtin.mlp import MLPAutoencoder, build_energy, build_generator
from vaebm_toolkit.builtin.networks import EnergyOptions, GeneratorOptions
from vaebm_toolkit.core import (
    Autoencoder,
    EnergyFunction,
    Generator,
    Horizon,
    Trainer,
    Update,
    standard_normal,
    stream,
)

HORIZON = Horizon(steps=10, steps_per_epoch=5, batch_size=16)
IMAGE = (1, 8, 8)


def mlp_generator(shape: tuple[int, ...] = (2,), width: int = 16) -> MLPAutoencoder:
    torch.manual_seed(1)
    return build_generator(GeneratorOptions(width=width, depth=2, latent=2), shape)


def mlp_energy(shape: tuple[int, ...] = (2,), width: int = 16) -> EnergyFunction:
    torch.manual_seed(2)
    return build_energy(EnergyOptions(width=width, depth=2), shape)


def nvae(head: str = "gaussian") -> Autoencoder:
    from vaebm_nvae.network import build
    from vaebm_nvae.options import NVAEOptions

    torch.manual_seed(1)
    cells = {"cells_per_group_enc": 1, "cells_per_group_dec": 1}
    return build(NVAEOptions(channels=4, groups=2, latent=2, head=head, **cells), IMAGE)


def resnet(**options: Any) -> EnergyFunction:
    from vaebm_igebm.options import ResNetOptions
    from vaebm_igebm.resnet import build

    torch.manual_seed(2)
    return build(ResNetOptions(width=4, **options), IMAGE)


def points(n: int = 16, seed: int = 2) -> Tensor:
    """N((2, −1), 0.3²)"""
    return torch.tensor([2.0, -1.0]) + 0.3 * torch.randn(n, 2, generator=stream(seed))


def images(n: int = 16) -> Tensor:
    return torch.rand(n, *IMAGE, generator=stream(2))


def run(trainer: Trainer, data: Callable[[int], Tensor], steps: int, first: int = 0) -> list[Update]:
    """The loop of `training.fit`: each loss is stepped before the next is asked for."""
    found = []
    for step in range(first, first + steps):
        for update in trainer.updates(data(step), step, stream(0, step)):
            optimizer = trainer.optimizers()[update.player]
            optimizer.zero_grad(set_to_none=True)
            update.loss.backward()
            optimizer.step()
            found.append(update)
    return found


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for m in trainer.networks().values() for p in m.parameters()])


def made_by(generator: Generator, n: int = 1024) -> Tensor:
    with torch.no_grad():
        return generator.decode(standard_normal(generator.groups, n, stream(7))).x


def sliced_wasserstein(a: Tensor, b: Tensor) -> float:
    """Mean over 16 directions in the plane of the Wasserstein-1 distance of the projections."""
    angle = torch.arange(16) * math.pi / 16
    directions = torch.stack([angle.cos(), angle.sin()])
    return float(((a @ directions).sort(0).values - (b @ directions).sort(0).values).abs().mean())


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Names of weights and buffers that are not what they were, bit for bit."""
    return {k for k, v in module.state_dict().items() if not torch.equal(v, before[k])}


def check_that_decode_alone_learns(trainer: Trainer) -> None:
    """On an NVAE: what its decoder computes with moves; its encoder and all statistics stay."""
    generator = trainer.players["generator"]
    before = snapshot(generator)
    run(trainer, lambda _: images(), steps=3)
    found = changed(generator, before)
    buffers = {k for k, _ in generator.named_buffers()}
    encoder = {
        k for k in before if k.startswith(("stem.", "pre_process", "enc_tower", "enc0", "enc_sampler"))
    }
    decoder = {k for k in before if k.startswith(("dec_tower", "post_process", "image_conditional"))}
    assert encoder
    assert not found & (encoder | buffers)
    assert decoder - buffers <= found
