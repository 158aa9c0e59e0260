"""Memory that large answers needed for a moment goes back to the system."""

from __future__ import annotations

import ctypes

QUIET = 4
"""Looks in a row at which nothing large was taken, before memory is given back."""

# glibc keeps what is freed in the midst of its heap; other C libraries have no such call.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


class Memory:
    """Call `look` at regular times; it acts once after the start, and after each burst."""

    def __init__(self) -> None:
        self._taken = 0
        self._quiet = 0

    def look(self, taken: int) -> None:
        """``taken`` counts what large was ever taken into the cache, or written to its store."""
        if taken != self._taken:
            self._taken, self._quiet = taken, 0
        elif self._quiet < QUIET:
            self._quiet += 1
            if self._quiet == QUIET and _trim is not None:
                _trim(0)
