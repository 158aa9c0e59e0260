"""Detects a dead peer of an HTTP/2 connection by PING frames. Pure."""

from __future__ import annotations

PING_AFTER = 5.0
"""Seconds without received bytes, with open streams, after which a PING is sent."""
PING_TIMEOUT = 5.0
"""Seconds for the server to answer, or to send anything else."""


class Keepalive:
    """Decides when to send a PING. Any received bytes answer it. Times are seconds of a monotonic clock."""

    def __init__(self, now: float) -> None:
        self._heard = now
        self._pinged: float | None = None

    def heard(self, now: float) -> None:
        """Bytes arrived."""
        self._heard = now

    def ping_due(self, now: float) -> bool:
        """Whether to send a PING now; there are open streams. The caller sends it when true."""
        return now - self._heard >= PING_AFTER and self.ping(now)

    def ping(self, now: float) -> bool:
        """Whether no PING is outstanding. The caller sends one when true."""
        if self._pinged is not None:
            return False
        self._pinged = now
        return True

    def timed_out(self, now: float) -> bool:
        """Whether a PING was not answered in time."""
        if self._pinged is None:
            return False
        if self._heard >= self._pinged:
            self._pinged = None
            return False
        return now - self._pinged >= PING_TIMEOUT
