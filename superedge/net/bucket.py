"""Token buckets, which limit a rate. Pure.

Each may be overdrawn; then nothing more may pass until it is filled again. ``now`` is in seconds of a
monotonic clock.
"""

from __future__ import annotations

BURST = 0.1
"""Size of the bucket, in seconds of the rate: the most that may pass at once after a pause."""
MIN_BURST = 64 * 1024


class Bucket:
    """Allows ``rate`` a second on average, and ``burst`` at once after a pause."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = float(burst)
        self._at = now

    def _fill(self, now: float) -> None:
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now

    def consume(self, amount: float, now: float) -> None:
        """Take ``amount`` out of the bucket."""
        self._fill(now)
        self._level -= amount

    def delay(self, now: float, level: float = 0.0) -> float:
        """Seconds until the bucket is filled up to ``level``."""
        self._fill(now)
        return max(0.0, (level - self._level) / self._rate)


class TokenBucket(Bucket):
    """Allows ``rate`` bytes a second on average."""

    def __init__(self, rate: int, now: float) -> None:
        super().__init__(rate, max(MIN_BURST, int(rate * BURST)), now)

    def available(self, now: float) -> int:
        """Bytes that may pass now."""
        self._fill(now)
        return max(0, int(self._level))

    def delay(self, now: float, level: float = 1.0) -> float:
        """Seconds until a byte may pass."""
        return super().delay(now, level)
