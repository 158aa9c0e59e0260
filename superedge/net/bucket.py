"""A token bucket, which limits a rate. Pure."""

from __future__ import annotations

BURST = 0.1
"""Size of the bucket, in seconds of the rate: the most that may pass at once after a pause."""
MIN_BURST = 64 * 1024


class TokenBucket:
    """Allows ``rate`` bytes a second on average.

    The bucket may be overdrawn; then nothing more may pass until it is filled again. ``now`` is in seconds of
    a monotonic clock.
    """

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._burst = max(MIN_BURST, int(rate * BURST))
        self._level = float(self._burst)
        self._at = now

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now

    def available(self, now: float) -> int:
        """Bytes that may pass now."""
        self._fill(now)
        return max(0, int(self._level))

    def consume(self, count: int, now: float) -> None:
        """Take ``count`` bytes out of the bucket."""
        self._fill(now)
        self._level -= count

    def delay(self, now: float) -> float:
        """Seconds until a byte may pass."""
        self._fill(now)
        return max(0.0, (1 - self._level) / self._rate)
