"""Every part of this project keeps its contract, as it is by default and with the options named here."""

from __future__ import annotations

from typing import Any

import pytest

from vaebm_toolkit.registry import OWN, discover
from vaebm_toolkit.testing.checking import check

READY = ("energy", "sampler")
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "energy/resnet": [{"norm": "spectral"}, {"batch_norm": True}],
    "energy/igebm": [{"classes": 3}, {"classes": 3, "label": 1}, {"bound": "all", "iterations": 3}],
    "energy/mlp": [{"depth": 3}],
    "sampler/latent-ld": [{"noise_scale": 0.02}, {"grad_clip": 1.0}],
    "sampler/data-ld": [{"grad_clip": "none"}, {"clamp": False}],
}
PARTS = {
    f"{kind}/{name}": part
    for (kind, name), part in discover().parts.items()
    if part.distribution in OWN and kind in READY
}


@pytest.mark.parametrize("name", PARTS)
def test_by_default(name: str) -> None:
    check(PARTS[name], None)


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, many in VARIANTS.items() for options in many]
)
def test_with_other_options(name: str, options: dict[str, Any]) -> None:
    check(PARTS[name], None, options=options)
