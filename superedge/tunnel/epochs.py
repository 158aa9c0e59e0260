"""Which of two sessions of a node is the newer one, on whatever replica each began. Pure.

A hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): microseconds of the replica's
clock, but always more than every epoch the replica has seen. So a session that began after its replica had
heard of another is the newer one whatever the clocks say; clocks decide only between sessions that began
within the second or so that news takes.
"""

from __future__ import annotations

MAX_EPOCH = 2**63 - 1


class EpochClock:
    """Gives epochs, each higher than all given and seen before."""

    def __init__(self) -> None:
        self._highest = 0

    def next(self, now: float) -> int:
        """An epoch for a session that begins at ``now``, seconds since 1970."""
        self._highest = max(self._highest + 1, int(now * 1_000_000))
        return self._highest

    def observe(self, epoch: int) -> None:
        """Another replica has given this one."""
        if self._highest < epoch <= MAX_EPOCH:
            self._highest = epoch
