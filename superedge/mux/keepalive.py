"""Keepalive pings: when to send one, whether the peer is alive, and the round-trip time. Pure."""

from __future__ import annotations

from superedge.mux.settings import MuxSettings

TICKS = 4
"""Calls of `Keepalive.tick` in one ping interval."""
PROBE_INTERVAL = 0.1
"""Seconds between pings while data is received, for an up-to-date round-trip time."""


class Keepalive:
    """Any received byte shows that the peer is alive. Times are in seconds of a monotonic clock."""

    def __init__(self, settings: MuxSettings, now: float) -> None:
        self._interval = settings.ping_interval
        self._timeout = settings.ping_timeout
        self.received_at = now
        """When bytes were received last."""
        self._idle_since = now
        self._ticked_at = now
        self._due = now
        self._probe_due = now
        self._sent: float | None = None
        self._idle_time = 0.0
        """Seconds since ``_sent`` in which this end had no work."""
        self._id = 0
        self.rtt: float | None = None
        """Round-trip time of the last ping, seconds; None before the first answer."""
        self.path_rtt: float | None = None
        """Round-trip time of the path alone, seconds, without the time an answer waited behind data."""

    def tick(self, now: float) -> bool:
        """Whether the peer is alive. Call it TICKS times in an interval, and `due` after it."""
        if now - self._ticked_at > self._interval:
            self.received_at = now  # this process was suspended and has not read yet what came meanwhile
        self._ticked_at = now
        return self._sent is None or now - self.received_at < self._timeout

    def due(self, now: float) -> int | None:
        """The number of the ping to send now; None before the time, or while a ping is outstanding."""
        return None if self._sent is not None or now < self._due else self._send(now)

    def probe(self, now: float) -> int | None:
        """As `due`, with PROBE_INTERVAL: while data is received, windows depend on the round-trip time."""
        return None if self._sent is not None or now < self._probe_due else self._send(now)

    def _send(self, now: float) -> int:
        self._sent = now
        self._idle_time = 0.0
        self._due = now + self._interval * (1 - 0.5 / TICKS)
        self._probe_due = now + PROBE_INTERVAL
        self._id = (self._id + 1) & 0xFFFF_FFFF
        return self._id

    def received(self, now: float) -> None:
        """Bytes were received."""
        self.received_at = now
        if self._sent is not None:
            self._idle_time += now - max(self._idle_since, self._sent)

    def processed(self, now: float) -> None:
        """The received bytes were processed."""
        self._idle_since = now

    def answered(self, number: int, now: float) -> bool:
        """The answer to a ping came; `received` was called for its bytes. Return whether it was awaited.

        A longer round-trip time than before counts for the path if this end was idle for a quarter of it.
        Otherwise the answer waited here behind data.
        """
        if self._sent is None or number != self._id:
            return False
        self.rtt = now - self._sent
        self._sent = None
        if self.path_rtt is None or self.rtt < self.path_rtt or self._idle_time >= self.rtt / 4:
            self.path_rtt = self.rtt
        return True
