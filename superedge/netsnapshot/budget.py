"""A bound on the CPU time that readings of the network take. Pure."""

from __future__ import annotations

SHARE = 0.002
"""Seconds of CPU time for each second."""
BURST = 4.0
"""Seconds of CPU time that may be used at once after a quiet time: about a dozen readings."""


class CPUBudget:
    """Says when the next reading may begin. ``now`` is in seconds of a monotonic clock."""

    def __init__(self, now: float) -> None:
        self._level = BURST
        self._at = now

    def used(self, seconds: float, now: float) -> None:
        """A reading took so much."""
        self._fill(now)
        self._level -= seconds

    def delay(self, now: float) -> float:
        """Seconds until the next reading."""
        self._fill(now)
        return max(0.0, -self._level / SHARE)

    def _fill(self, now: float) -> None:
        self._level = min(BURST, self._level + (now - self._at) * SHARE)
        self._at = now
