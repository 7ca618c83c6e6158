"""`--devices N`: one process per device, under torch's own launcher. Nothing here imports torch at first."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaebm_toolkit.errors import RunError, quoted

if TYPE_CHECKING:
    import torch

OURS = "VAEBM_LAUNCHED"
"""Set in processes that `launch` started, which says itself how they ended."""
LOST = 75
"""Exit code of a process that ends because another has."""
SECONDS = 5.0
"""How long it waits before it does, so that the launcher sees the cause first."""

PATIENCE = "120"
"""Seconds that processes have to end their step and write a checkpoint when they are asked to stop."""

devices_option = click.option(
    "--devices",
    type=click.IntRange(1),
    metavar="N",
    help="Processes, one per device, which work together; on several machines use torchrun.",
)
_store: Any = None


def launched() -> bool:
    """Whether a launcher, ours or torchrun, started this process as one of several."""
    known = all(name in os.environ for name in ("RANK", "MASTER_ADDR"))
    return known and int(os.environ.get("WORLD_SIZE", "1")) > 1


def apart(devices: int | None) -> bool:
    """Whether other processes are to do the work, one for each of several devices."""
    return (devices or 1) > 1 and not launched()


def leads() -> bool:
    """Whether this is the process that reads and writes the run."""
    return not launched() or os.environ["RANK"] == "0"


def speaks() -> bool:
    """Whether this process may say what went wrong: the first one of a job that asks."""
    if _store is None:
        return leads()  # until they have met, all of them do the same
    try:
        return bool(_store.add("said", 1) == 1)
    except RuntimeError:  # the launcher is gone
        return True


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """This process's device, as one of its job's where there are several."""
    from vaebm_toolkit.training.device import choose_device

    if not launched():
        yield choose_device(device)
        return
    from vaebm_toolkit.training.processes import join

    global _store
    own, _store = join(device)
    yield own


@contextmanager
def telling_lost_ranks(again: Callable[[], str], stop: threading.Event) -> Iterator[None]:
    """Where another process has ended, this one ends too, and says so unless `launch` does.

    again: how to go on. stop: set by signals, which the launcher sends.
    """
    if not launched():
        yield
        return
    from vaebm_toolkit.core.ranks import LostRank

    try:
        yield
    except LostRank as e:
        stop.wait(SECONDS)
        if OURS in os.environ:
            sys.exit(LOST)
        raise RunError(f"Another process of this job has ended ({e}); this one stopped.", again()) from e


def launch(devices: int, device: str, again: Callable[[], str], *more: str) -> None:
    """This command once per device, with `more` arguments; returns when all have ended well.

    again: how to go on after a failure.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from vaebm_toolkit.training.processes import device_type

    kind = device_type(device, devices)
    if kind == "cpu" and device == "auto":
        click.echo(f"No CUDA device here: {devices} processes on the CPU.", err=True)
    with tempfile.TemporaryDirectory() as logs, environment():
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=devices, max_restarts=0, monitor_interval=0.1,
            rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0", local_addr="127.0.0.1",
            run_id=f"vaebm-{os.getpid()}", logs_specs=DefaultLogsSpecs(log_dir=logs),
        )  # fmt: skip
        try:
            elastic_launch(config, sys.executable)("-m", "vaebm_toolkit", *sys.argv[1:], *more)
        except ChildFailedError as e:
            tell(e.failures, devices, again())
        except SignalException:
            sys.exit(130)  # rank 0 has said where it stopped


@contextmanager
def environment() -> Iterator[None]:
    """What processes of one machine need besides: they meet on it alone, and torch's launcher is silent."""
    import logging
    import socket

    before, elastic = dict(os.environ), logging.getLogger("torch.distributed.elastic")
    level = elastic.level
    os.environ[OURS] = "1"
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", PATIENCE)
    if "lo" in [name for _, name in socket.if_nameindex()]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    elastic.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        elastic.setLevel(level)
        os.environ.clear()
        os.environ.update(before)


def tell(failures: dict[int, Any], devices: int, again: str) -> None:
    """Ends as the process that failed did: by its exit code, or with the signal that ended it."""
    codes = {rank: failure.exitcode for rank, failure in failures.items()}
    killed = next((rank for rank, code in sorted(codes.items()) if code < 0), None)
    if killed is not None:
        number = -codes[killed]
        name = signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
        memory = ", which is often a lack of memory" if name == "SIGKILL" else ""
        raise RunError(
            f"Process {killed} of {devices} (from 0) was ended by {name}{memory}; the others stopped.", again
        )
    said = [code for code in codes.values() if code != LOST]
    if not said:
        raise RunError("A process of this job does not answer any more; the others stopped.", again)
    sys.exit(said[0])


def going_on(run: Path, devices: int | None, device: str = "auto") -> str:
    """The command that continues a run on as many devices, where there is one yet."""
    if not (run / "recipe.toml").is_file():
        return "Start it again."
    command = "torchrun … -m vaebm_toolkit" if launched() and OURS not in os.environ else "vaebm"
    return f"Continue: {command} run --resume {quoted(run)}" + (
        (f" --devices {devices}" if devices else "") + ("" if device == "auto" else f" --device {device}")
    )
