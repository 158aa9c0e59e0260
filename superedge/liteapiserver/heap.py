"""Returns freed memory to the system.

Decoding and storing a list of megabytes leaves free memory in the heap, which the C library keeps for later
allocations. A node needs it for other processes.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from pathlib import Path

STEP = 8 * 1024 * 1024
"""Bytes of growth that start trimming."""
MAX_TRIMS = 10
"""Checks that trim the heap then: a store may keep what it writes for a while."""
LARGE = 8 * 1024 * 1024
"""Bytes of a block that the C library returns at once when it is freed."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3), malloc.h
_STATISTICS = Path("/proc/self/statm")


def resident() -> int:
    """Resident bytes of this process (proc(5), statm)."""
    return int(_STATISTICS.read_bytes().split()[1]) * mmap.PAGESIZE


class HeapTrimmer:
    """Trims the heap at some checks after the process has grown."""

    def __init__(self, measure: Callable[[], int] = resident, trim: Callable[[], None] | None = None) -> None:
        """``measure`` gives bytes; ``trim`` is malloc_trim(3) by default, where there is one."""
        self._measure = measure
        self._trim = trim or _trimmer()
        self._before = 0
        self._left = 0

    def check(self) -> None:
        """To be called periodically."""
        if self._measure() >= self._before + STEP:
            self._left = MAX_TRIMS
        if self._left:
            self._left -= 1
            self._trim()
            self._before = self._measure()


def return_large_blocks() -> None:
    """Have the C library return blocks of LARGE bytes at once, in the whole process.

    By default it keeps blocks of up to 32 MiB once such a block was freed. Smaller blocks are still kept: a
    list of 5 MB that is requested again and again need not be mapped each time.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, LARGE)
        set_option(_TRIM_THRESHOLD, LARGE)


def _trimmer() -> Callable[[], None]:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none, and keeps less memory
    return (lambda: None) if trim is None else (lambda: trim(0))
