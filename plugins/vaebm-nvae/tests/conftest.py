"""Small networks whose BatchNorm statistics look like those of a trained one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from vaebm_nvae.network import NVAE, build
from vaebm_nvae.options import NVAEOptions

Make = Callable[..., NVAE]


@pytest.fixture
def make() -> Make:
    """A network in eval mode: make(shape, **options)."""

    def network(shape: tuple[int, ...] = (3, 8, 8), **options: object) -> NVAE:
        small = dict(channels=4, groups=2, latent=2, cells_per_group_enc=1, cells_per_group_dec=1)
        model = build(NVAEOptions(**{**small, **options}), shape)
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    for value, mean, spread in (
                        (module.running_mean, 0.0, 0.3),
                        (module.weight, 1.0, 0.3),
                        (module.bias, 0.0, 0.3),
                    ):
                        value.copy_(mean + spread * torch.randn(value.shape, generator=draw))
                    module.running_var.copy_(0.5 + torch.rand(value.shape, generator=draw))
        return model.eval()

    return network
