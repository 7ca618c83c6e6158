"""Processes that train together, started by a test."""

from __future__ import annotations

import io
import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """For fixtures, which are set up before a test's own."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


Work = Callable[..., Any]


def together(world: int, work: Work, *args: Any) -> list[Any]:
    """What `work(*args)` gives on each of `world` ranks: tensors, numbers, texts and lists or dicts of them.

    Children are forked, so that torch is not imported once more by each. The first exception of any is the
    test's failure.
    """
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        ends = []
        for rank in range(world):
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=member, args=(rank, world, folder, theirs, work, args))
            child.start()
            theirs.close()
            ends.append((child, ours))
        found = [received(ours) for _, ours in ends]
        for child, _ in ends:
            child.join()
    failed = [text for kind, text in found if kind == "failed"]
    assert not failed, "\n".join(failed)
    return [torch.load(io.BytesIO(held), weights_only=False) for _, held in found]


def received(end: Connection) -> tuple[str, Any]:
    try:
        return end.recv()
    except EOFError:
        return "failed", "a rank ended without a word"


def member(rank: int, world: int, folder: str, end: Connection, work: Work, args: tuple[Any, ...]) -> None:
    """One rank: join the others, do the work, send what it gives."""
    try:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        dist.init_process_group(
            "gloo", store=dist.FileStore(f"{folder}/store", world), rank=rank, world_size=world,
            timeout=timedelta(seconds=120),
        )  # fmt: skip
        held = io.BytesIO()
        torch.save(work(*args), held)
        end.send(("done", held.getvalue()))
        dist.barrier()
    except BaseException:
        end.send(("failed", f"rank {rank} of {world}:\n{traceback.format_exc()}"))
    finally:
        end.close()
        os._exit(0)
