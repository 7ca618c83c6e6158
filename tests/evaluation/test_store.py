"""The store of samples: made once, continued, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebm_toolkit.errors import RunError
from vaebm_toolkit.evaluation import store as stores
from vaebm_toolkit.evaluation.store import SampleStore


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SHARD", 10)


class Maker:
    """Sample i is (i, i²); remembers what it was asked for, and may be cut off."""

    def __init__(self, until: int = 10**9) -> None:
        self.asked: list[int] = []
        self.until = until

    def __call__(self, indices: range) -> Iterator[Tensor]:
        for part in torch.tensor(indices).split(4):
            if part[-1] >= self.until:
                raise KeyboardInterrupt
            self.asked += part.tolist()
            yield torch.stack([part, part**2], 1).float()


def test_a_stream_of_batches(tmp_path: Path) -> None:
    told: list[int] = []
    batches = list(SampleStore(tmp_path, {"seed": 0}, Maker()).batches(25, 4, told.append))
    x = torch.cat(batches)
    assert torch.equal(x[:, 0], torch.arange(25).float())
    assert max(len(b) for b in batches) == 4
    assert told == [10, 20, 25]


def test_nothing_is_made_twice(tmp_path: Path) -> None:
    list(SampleStore(tmp_path, {"seed": 0}, Maker()).batches(13, 5))
    maker = Maker()
    x = torch.cat(list(SampleStore(tmp_path, {"seed": 0}, maker).batches(24, 5)))
    assert maker.asked == list(range(13, 24))
    assert torch.equal(x[:, 0], torch.arange(24).float())
    fewer = torch.cat(list(SampleStore(tmp_path, {"seed": 0}, Maker(0)).batches(7, 5)))
    assert torch.equal(fewer, x[:7])


def test_one_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(SampleStore(tmp_path, {"seed": 0}, Maker(until=15)).batches(30, 5))
    maker = Maker()
    x = torch.cat(list(SampleStore(tmp_path, {"seed": 0}, maker).batches(30, 5)))
    assert maker.asked == list(range(10, 30))
    assert torch.equal(x[:, 0], torch.arange(30).float())


def test_other_settings_are_another_store(tmp_path: Path) -> None:
    list(SampleStore(tmp_path, {"seed": 0}, Maker()).batches(5, 5))
    maker = Maker()
    list(SampleStore(tmp_path, {"seed": 1}, maker).batches(5, 5))
    assert maker.asked == list(range(5))


def test_what_is_not_finite_or_damaged_is_told(tmp_path: Path) -> None:
    def broken(indices: range) -> Iterator[Tensor]:
        yield torch.full((len(indices), 2), float("nan"))

    with pytest.raises(RunError, match="not finite"):
        list(SampleStore(tmp_path, {}, broken).batches(5, 5))
    store = SampleStore(tmp_path, {"seed": 0}, Maker())
    list(store.batches(5, 5))
    (file,) = store.path.glob("*.npy")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(RunError, match="rm "):
        list(store.batches(5, 5))
    np.save(file, np.array([object()]), allow_pickle=True)
    with pytest.raises(RunError, match="cannot be read"):
        list(store.batches(5, 5))
