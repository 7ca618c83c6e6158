"""Set-up shared by all tests: one thread and float64, so that what is compared is the mathematics."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tensors live, e.g. cuda (default: cpu)")


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> torch.device:
    return torch.device(pytestconfig.getoption("--device"))


@pytest.fixture
def dtype() -> torch.dtype:
    """The default dtype inside a test; tests of whole runs override this with float32."""
    return torch.float64


@pytest.fixture(autouse=True)
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Sets it for the test; the global generator is left as it was."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_default_dtype(before)


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept for later runs is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def rng(device: torch.device) -> torch.Generator:
    """A seeded stream on the tests' device."""
    return torch.Generator(device).manual_seed(0)
