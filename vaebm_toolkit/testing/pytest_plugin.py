"""Fixtures for tests of plugins; pytest finds them where the toolkit is installed.

    def test_my_trainer(vaebm_tiny_energy, vaebm_tiny_dataset, vaebm_rng): ...

They are for data of the fixture `vaebm_shape`, which a test module may override. Importing this module
imports no torch: nothing does until a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch

    from vaebm_toolkit.registry import Registry
    from vaebm_toolkit.testing.tiny import TinyDataset
    from vaebm_toolkit.testing.tiny_networks import TinyEnergy, TinyGenerator


@pytest.fixture
def vaebm_registry(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Registry]:
    """vaebm_registry("my-plugin") -> the parts of the toolkit and of the named plugins, and no others.

    Until the test ends `installed()` is that, and with it what checks by name and the command line see.
    """
    from vaebm_toolkit.discovery import DISABLED, FILES, normal
    from vaebm_toolkit.hookspecs import GROUP
    from vaebm_toolkit.registry import OWN, installed

    def only(*plugins: str) -> Registry:
        wanted = {normal(name) for name in (*plugins, *OWN)}
        others = {p.name for p in entry_points(group=GROUP) if normal(p.name) not in wanted}
        monkeypatch.setenv(DISABLED, ",".join(sorted(others)))
        monkeypatch.delenv(FILES, raising=False)
        return installed()

    return only


@pytest.fixture
def vaebm_rng() -> torch.Generator:
    """A seeded stream."""
    from vaebm_toolkit.core import stream

    return stream(0, "test")


@pytest.fixture
def vaebm_shape() -> tuple[int, ...]:
    """The shape of the data that the other fixtures are for: (2,); override it for images."""
    return (2,)


@pytest.fixture
def vaebm_tiny_energy(vaebm_shape: tuple[int, ...]) -> TinyEnergy:
    """A small energy, the same in every test."""
    from vaebm_toolkit.testing.subject import settings
    from vaebm_toolkit.testing.tiny_networks import TinyEnergy

    with settings(_dtype()):
        return TinyEnergy(vaebm_shape)


@pytest.fixture
def vaebm_tiny_generator(vaebm_shape: tuple[int, ...]) -> TinyGenerator:
    """A small generator with an encoder, the same in every test."""
    from vaebm_toolkit.testing.subject import settings
    from vaebm_toolkit.testing.tiny_networks import TinyGenerator

    with settings(_dtype()):
        return TinyGenerator(vaebm_shape)


@pytest.fixture
def vaebm_tiny_dataset(vaebm_shape: tuple[int, ...]) -> TinyDataset:
    """400 training and 200 test examples of four classes, float32."""
    from vaebm_toolkit.testing.tiny import TinyDataset

    return TinyDataset(vaebm_shape)


def _dtype() -> torch.dtype:
    import torch

    return torch.get_default_dtype()
