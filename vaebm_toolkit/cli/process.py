"""What is set for the whole process before torch is imported: how threads wait, what becomes of freed memory.

Both are the process's own affair, so commands set them and the library does not.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""mallopt(3)"""
LARGE, LARGEST = 2**30, 2**31 - 1
WAITING = "OMP_WAIT_POLICY"


def settle(processes: bool = False) -> None:
    """Before torch is imported. processes: whether this is one of several that share the machine's cores."""
    if processes or busy():
        # Threads that spin while they wait cost a factor of ten on cores that others want, too;
        # on idle ones they save a quarter of a Langevin step, and spinning is OpenMP's own way.
        os.environ.setdefault(WAITING, "PASSIVE")
    keep_freed_memory()


def busy() -> bool:
    """Whether over a quarter of the cores had other work in the last minute; False where nobody knows."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):
        return False
    return load > (os.cpu_count() or 1) / 4


def keep_freed_memory() -> bool:
    """Freed tensors stay with the process, for the next ones; False where the C library is not glibc.

    glibc gives large blocks back to the system at once, and each step of a chain has its hundreds of
    megabytes mapped, zeroed and faulted in again. The peak is the same.
    """
    mallopt = c_function("mallopt")
    if mallopt is None:
        return False
    # older ones refuse a threshold above 32 MiB
    mapped = any(mallopt(M_MMAP_THRESHOLD, at) for at in (LARGE, 2**25))
    return mapped and mallopt(M_TRIM_THRESHOLD, LARGEST) == 1


def c_function(name: str) -> Callable[..., int] | None:
    """A function of glibc; None where the C library is another."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  glibc's alone
        found: Callable[..., int] = getattr(library, name)
    except (AttributeError, OSError, TypeError):
        return None
    return found
