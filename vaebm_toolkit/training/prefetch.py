"""The next batches are made while the device works on this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from vaebm_toolkit.training.batches import Batches

Making = Callable[[int], Tensor]
DEPTH = 3
"""Batches made ahead: one that is ready, and two against a slow moment of the disk."""


class Prefetched:
    """What `make(step)` gives, for steps in any order, made ahead where they follow each other.

    One thread calls `make`, one step after the other, so that it need not be safe for threads; a batch
    is the same as without, since it depends on its step alone. At most `depth` + 1 batches are in
    memory. An error is raised by the call for the step that met it. Beyond step `end` nothing is made
    ahead. pin: in memory that a GPU copies from without waiting.
    """

    def __init__(self, make: Making, end: int, *, depth: int = DEPTH, pin: bool = False) -> None:
        self.make, self.end, self.depth, self.pin = make, end, depth, pin
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._first = 0  # the step that self._ahead[0] makes
        self._ahead: deque[Future[Tensor]] = deque()

    def __call__(self, step: int) -> Tensor:
        """The batch of `step`, (B, *data shape) on the CPU."""
        if step != self._first:
            self._drop()
            self._first = step
        last = max(min(step + self.depth + 1, self.end), step + 1)
        for later in range(step + len(self._ahead), last):
            self._ahead.append(self._pool.submit(self._one, later))
        self._first += 1
        return self._ahead.popleft().result()

    def close(self) -> None:
        """Waits for the batch that is being made, and makes no more."""
        self._drop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _drop(self) -> None:
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()

    def _one(self, step: int) -> Tensor:
        x = self.make(step)
        return x.pin_memory() if self.pin else x


@contextmanager
def ahead(batches: Batches, end: int, device: torch.device) -> Iterator[Making]:
    """Batches made ahead of a loop of `end` steps where they take long to make, as where files are decoded.

    Images in memory are gathered in less time than a thread is told to: those come as they are.
    """
    if not batches.split.slow:
        yield batches
        return
    made = Prefetched(batches, end, pin=device.type == "cuda")
    try:
        yield made
    finally:
        made.close()
