"""Epochs, which order the sessions of a node across replicas. Pure.

An epoch comes from a hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): microseconds of
the replica's clock, but always more than every epoch that the replica has seen. So a session that starts
after its replica has learnt of another is the newer one, whatever the clocks show. Clocks decide only between
sessions that start within the second that news takes to spread.
"""

from __future__ import annotations

MAX_EPOCH = 2**63 - 1


class EpochClock:
    """Gives epochs, each higher than all that were given or observed before."""

    def __init__(self) -> None:
        self._highest = 0

    def next(self, now: float) -> int:
        """An epoch for a session that starts at ``now``, seconds since 1970."""
        self._highest = max(self._highest + 1, int(now * 1_000_000))
        return self._highest

    def observe(self, epoch: int) -> None:
        """Another replica has given this epoch."""
        if self._highest < epoch <= MAX_EPOCH:
            self._highest = epoch
