"""Joining the other processes of a job: what a launcher such as torchrun says in the environment.

A launcher gives each process RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE and where the first of them
can be reached. Only rank 0 needs the run directory; data sets are read on every machine.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.training.device import choose_device

PATIENCE = timedelta(hours=2)
"""How long a rank waits for another that says nothing. One that has ended is noticed at once."""


def join(device: str) -> tuple[torch.device, Any]:
    """This process's device and what the job's processes share, once all of them are there.

    device: as given to --device; with CUDA each process takes the device of its local rank. On the CPU
    the cores are shared out, unless OMP_NUM_THREADS says otherwise.
    """
    local, beside = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    own = torch.device(device_type(device, beside), local)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    else:
        own = torch.device("cpu")
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(threads_each(beside))
    store, rank, world = next(iter(dist.rendezvous("env://", timeout=PATIENCE)))
    # what is said on the host, e.g. whether to stop, needs no device
    backend = "gloo" if own.type == "cpu" else f"cpu:gloo,{own.type}:nccl"
    dist.init_process_group(
        backend, store=dist.PrefixStore("ranks", store), rank=rank, world_size=world, timeout=PATIENCE
    )
    return own, store


def leave() -> None:
    """The end of what ranks do together; all of them call it."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def device_type(name: str, count: int) -> str:
    """cpu or cuda. RecipeError unless there are `count` devices of it here, one for each process."""
    if ":" in name:
        raise RecipeError(
            f"--device {name} is one device, and each of several processes takes its own.",
            f"Use --device {name.partition(':')[0]}, and CUDA_VISIBLE_DEVICES to choose among them.",
        )
    kind = choose_device(name).type
    there = torch.cuda.device_count() if kind == "cuda" else count
    if there < count:
        raise RecipeError(
            f"--devices {count}: this machine has {there} CUDA device{'' if there == 1 else 's'}.",
            f"Use --devices {there}, or --device cpu.",
        )
    return kind


def threads_each(processes: int) -> int:
    """CPU threads of each of the processes on a machine: its cores, shared out."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // processes, 1)
