"""Samples on disk: made once, in whole shards, and read back as a stream of batches."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaebm_toolkit.errors import RunError, quoted
from vaebm_toolkit.training.files import write, write_json

SHARD = 1000  # rows per file
Make = Callable[[range], Iterator[Tensor]]
"""Indices of samples -> batches of them, (B, *data shape)."""


def digest(protocol: Mapping[str, Any]) -> str:
    """The name of a folder for what was made in this way."""
    text = json.dumps(protocol, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class SampleStore:
    """Samples 0, 1, 2, … of one model, as float32 arrays of SHARD rows each.

    Sample i depends on its index alone, so a store that was cut off goes on, and one that is asked for more
    samples makes only those. No more than a shard is in memory, whatever their number.
    """

    def __init__(self, folder: Path, protocol: Mapping[str, Any], make: Make) -> None:
        """`folder` is for stores of one run; this one's is named after `protocol`, all that its samples
        depend on.
        """
        self.path = folder / digest(protocol)
        self.protocol, self.make = dict(protocol), make

    def batches(
        self, count: int, batch_size: int, made: Callable[[int], None] = lambda n: None, start: int = 0
    ) -> Iterator[Tensor]:
        """Samples `start` to `count`, (B, *data shape) each; `made(n)` is called when n of them are there."""
        for first in range(start - start % SHARD, count, SHARD):
            wanted = min(SHARD, count - first)
            shard = self.shard(first, wanted)
            made(first + wanted)
            yield from shard[max(start - first, 0) : wanted].split(batch_size)

    def shard(self, first: int, wanted: int) -> Tensor:
        """At least `wanted` samples from index `first`, read or made; a shorter file is made longer."""
        file = self.path / f"{first:08d}.npy"
        held = read(file) if file.is_file() else None
        have = 0 if held is None else len(held)
        if held is not None and have >= wanted:
            return held
        fresh = torch.cat([x.float().cpu() for x in self.make(range(first + have, first + wanted))])
        shard = fresh if held is None else torch.cat([held, fresh])
        if not torch.isfinite(shard).all():
            raise RunError(
                f"Some samples from index {first} are not finite: the chain diverged.",
                "Take smaller steps at test time: see vaebm run --sampling.step-size",
            )
        if not (self.path / "protocol.json").is_file():
            write_json(self.path / "protocol.json", self.protocol)
        buffer = io.BytesIO()
        np.save(buffer, shard.numpy())
        write(file, buffer.getvalue())
        return shard


def read(file: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(file, allow_pickle=False))
    except (OSError, ValueError) as e:
        raise RunError(f"{file} cannot be read: {e}.", f"Remove it: rm {quoted(file)}") from e
