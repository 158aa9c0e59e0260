"""Python's collector of reference cycles, in a process that serves."""

from __future__ import annotations

import gc

THRESHOLDS = (10_000, 20, 20)
"""Of `gc.set_threshold`. Python's own have it look at every request under way again and again, a fifth of the
processor time of a forwarded DNS question; there are few cycles to find."""


def settle() -> None:
    """Once what stays for good is there: it is not looked at any more."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
