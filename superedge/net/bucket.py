"""A token bucket: how much may pass now. Pure."""

from __future__ import annotations

BURST = 0.1
"""Seconds of the rate that may pass at once after a pause."""
LEAST_BURST = 64 * 1024


class TokenBucket:
    """``rate`` bytes a second, as a long-term mean.

    What passes may overdraw; then nothing more may pass until that is paid. ``now`` is seconds on any steady
    clock.
    """

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._burst = max(LEAST_BURST, int(rate * BURST))
        self._level = float(self._burst)
        self._at = now

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now

    def room(self, now: float) -> int:
        """Bytes that may pass now."""
        self._fill(now)
        return max(0, int(self._level))

    def spend(self, count: int, now: float) -> None:
        """Note what passed."""
        self._fill(now)
        self._level -= count

    def wait(self, now: float) -> float:
        """Seconds until there is room."""
        self._fill(now)
        return max(0.0, (1 - self._level) / self._rate)
