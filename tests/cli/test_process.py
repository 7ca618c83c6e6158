"""What a command sets for its process: waiting threads, freed memory."""

import ctypes
import os
import subprocess
import sys

import pytest

from vaebm_toolkit.cli import process

glibc = pytest.mark.skipif(process.c_function("mallopt") is None, reason="the C library is not glibc")


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setattr(process, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv(process.WAITING, raising=False)
    return monkeypatch


def loaded(environment, load: float) -> None:
    environment.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)


@pytest.mark.parametrize(
    ("load", "processes", "policy"),
    [(0.5, False, None), (2.5, False, "PASSIVE"), (0.5, True, "PASSIVE")],
)
def test_threads_spin_only_where_the_cores_are_this_process_s_own(environment, load, processes, policy):
    loaded(environment, load)
    process.settle(processes)
    assert os.environ.get(process.WAITING) == policy
    os.environ.pop(process.WAITING, None)


def test_what_the_user_chose_stands(environment):
    loaded(environment, 100.0)
    environment.setenv(process.WAITING, "ACTIVE")
    process.settle()
    assert os.environ[process.WAITING] == "ACTIVE"


def test_where_nobody_knows_the_load_cores_count_as_idle(environment):
    environment.delattr(os, "getloadavg", raising=False)
    assert not process.busy()


def test_without_glibc_nothing_is_set(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not process.keep_freed_memory()


FAULTS = """
import ctypes, resource, sys
from vaebm_toolkit.cli import process
if sys.argv[1] == "keep":
    assert process.keep_freed_memory()
malloc, free, memset = (process.c_function(name) for name in ("malloc", "free", "memset"))
malloc.restype, size = ctypes.c_void_p, 48 * 2**20
def use():
    block = ctypes.c_void_p(malloc(ctypes.c_size_t(size)))
    memset(block, 1, ctypes.c_size_t(size))
    free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    use()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / size / 4)
"""


@glibc
def test_freed_memory_is_faulted_in_once():
    """Share of a freed block that its next use faults in again: none; all where the C library decides."""
    shares = [
        float(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True).stdout)
        for how in ("keep", "as usual")
    ]
    assert shares[0] < 0.01
    assert shares[1] > 0.5
