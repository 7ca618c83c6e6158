"""The part under test: built with its example's options, in a given dtype and from a given seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from vaebm_toolkit.core import stream
from vaebm_toolkit.options import parse
from vaebm_toolkit.registry import Registered, load_factory

Shape = tuple[int, ...]


@contextmanager
def settings(dtype: torch.dtype = torch.float64, seed: int = 0) -> Iterator[None]:
    """The default dtype and a seeded global generator; both are put back."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(before)


class Subject:
    """A part, the options it is tried with, and the streams that its tests draw from."""

    def __init__(
        self,
        registered: Registered,
        shape: Shape | None = None,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.registered, self.component = registered, registered.component
        self.shape, self.seed = shape, seed
        self.table = {**self.component.example, **(options or {})}

    def rng(self, *path: str | int) -> torch.Generator:
        return stream(self.seed, "testing", *path)

    def options(self, table: Mapping[str, Any] | None = None) -> Any:
        """The options object of `table`, by default the example's."""
        chosen = self.table if table is None else table
        return parse(self.component.options, chosen, self.component.kind)

    def build(
        self,
        table: Mapping[str, Any] | None = None,
        *,
        dtype: torch.dtype = torch.float64,
        start: int = 0,
        **keywords: Any,
    ) -> Any:
        """`factory(options, **keywords)`; its initial weights follow from the seed and `start`."""
        options = self.options(table)
        with settings(dtype, 1000 * self.seed + start):
            return load_factory(self.registered)(options, **keywords)
