"""File descriptors that callers leave to the process itself."""

from __future__ import annotations

import resource
import sys

KEPT = 64
"""How many callers leave: for what the process dials, reads and writes."""
KEPT_BY_DIALS = 32
"""How many are left of these by what callers have dialled."""
KEPT_BY_MONITORING = 8
"""How many are left by those who ask how the process fares."""
_LOW = 4 * KEPT
"""Under a lower limit, each keeps a share instead."""


def ceiling(kept: int) -> int:
    """The lowest descriptor that there is only when at most ``kept`` are left, fewer where the limit is low.

    The kernel gives the lowest number that is free, so one that is as high says that all below are in use.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(kept, limit * kept // _LOW)
