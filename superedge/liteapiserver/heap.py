"""Memory that was freed goes back to the system.

A list of megabytes leaves holes where it was decoded and written, and the C library keeps them, and whole
blocks, for the next one. A node has better use for them.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from pathlib import Path

STEP = 8 * 1024 * 1024
"""Bytes of growth that are worth looking for holes."""
TRIMS = 10
"""Times to look for them then: a store may hold on to what it writes for a while."""
LARGE = 8 * 1024 * 1024
"""Bytes of a block that goes back by itself when it is freed."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3), malloc.h
_STATISTICS = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of this process in memory (proc(5), statm)."""
    return int(_STATISTICS.read_bytes().split()[1]) * mmap.PAGESIZE


class HeapTrimmer:
    """Calls ``give_back`` when the process has grown since it was called last, and some times more."""

    def __init__(
        self, measure: Callable[[], int] = resident, give_back: Callable[[], None] | None = None
    ) -> None:
        """``measure`` gives bytes; ``give_back`` is the C library's own way where it has one."""
        self._measure = measure
        self._give_back = give_back or _trimmer()
        self._before = 0
        self._left = 0

    def check(self) -> None:
        """To be called now and then."""
        if self._measure() >= self._before + STEP:
            self._left = TRIMS
        if self._left:
            self._left -= 1
            self._give_back()
            self._before = self._measure()


def return_large_blocks() -> None:
    """From now on a block of LARGE bytes goes back at once, in the whole process.

    The C library keeps blocks of up to 32 MiB for the next one, once it has seen such a block freed. Smaller
    ones stay there: a list of 5 MB that is answered again and again need not have its memory mapped anew.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, LARGE)
        set_option(_TRIM_THRESHOLD, LARGE)


def _trimmer() -> Callable[[], None]:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none, and keeps less
    return (lambda: None) if trim is None else (lambda: trim(0))
