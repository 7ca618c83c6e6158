"""Batches made ahead are those made one by one; errors come when they are due; no thread is left."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vaebm_toolkit import DataError
from vaebm_toolkit.builtin.data import folder
from vaebm_toolkit.builtin.datasets import ImageFolderOptions
from vaebm_toolkit.training.batches import Batches
from vaebm_toolkit.training.prefetch import Prefetched, ahead

CPU = torch.device("cpu")


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("prefetch")]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return tmp_path


def batches(images: Path, **options: Any) -> Batches:
    data = folder.build(ImageFolderOptions(path=str(images), test_path=str(images), flip=True, **options))
    return Batches(data.train, 5, 0, "train")


def test_the_same_batches_in_any_order_of_steps(images: Path) -> None:
    one_by_one = batches(images, memory=0)
    with ahead(batches(images, memory=0), 9, CPU) as made:
        assert isinstance(made, Prefetched)
        for step in (0, 1, 2, 0, 1, 2, 3, 4, 7, 8, 9, 20, 3):
            assert torch.equal(made(step), one_by_one(step))
        assert threads()
    assert not threads()


def test_images_in_memory_are_not_made_ahead(images: Path) -> None:
    held = batches(images)
    with ahead(held, 9, CPU) as made:
        assert made is held


def test_no_more_than_asked_for_is_made_ahead() -> None:
    made: list[int] = []

    def make(step: int) -> torch.Tensor:
        made.append(step)
        return torch.zeros(1)

    prefetched = Prefetched(make, 10, depth=2)
    prefetched(0)
    wait(prefetched._ahead)
    assert made == [0, 1, 2]
    for step in range(1, 10):
        prefetched(step)
    prefetched.close()
    assert made == list(range(10))


def test_an_error_comes_with_the_step_that_meets_it(images: Path) -> None:
    source = batches(images, memory=0, verify=False)
    order = Batches(source.split, 5, 0, "train")
    order(0)
    (images / source.split.names[int(order.order[7])]).write_bytes(b"damaged")
    with ahead(source, 9, CPU) as made:
        assert made(0).shape == (5, 3, 8, 8)
        wait(made._ahead)
        with pytest.raises(DataError, match="1 of 12 images"):
            made(1)
        assert made(2).shape == (5, 3, 8, 8)
    assert not threads()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_no_thread_is_left_when_the_loop_ends_early(stop: type[BaseException]) -> None:
    def make(step: int) -> torch.Tensor:
        time.sleep(0.01)
        return torch.zeros(1)

    def loop() -> None:
        prefetched = Prefetched(make, 1000)
        try:
            prefetched(0)
            raise stop
        finally:
            prefetched.close()

    with pytest.raises(stop):
        loop()
    assert not threads()
