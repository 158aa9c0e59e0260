"""Whether the peer is still there, and how far away: when to ping, and what the answers tell. Pure."""

from __future__ import annotations

from superedge.mux.settings import MuxSettings

TICKS = 4
"""How often in a ping interval `Keepalive.tick` is called."""
PROBE_INTERVAL = 0.1
"""Seconds between pings while readers drain what comes."""


class Keepalive:
    """Anything that comes in is a sign of life; times are seconds on any steady clock."""

    def __init__(self, settings: MuxSettings, now: float) -> None:
        self._interval = settings.ping_interval
        self._timeout = settings.ping_timeout
        self.heard_at = now
        """When bytes came last."""
        self._rested_at = now
        self._ticked_at = now
        self._due = now
        self._probe_due = now
        self._sent: float | None = None
        self._quiet = 0.0
        """Seconds since ``_sent`` in which there was nothing to do."""
        self._id = 0
        self.rtt: float | None = None
        """Seconds of the last ping, None before the first answer."""
        self.path_rtt: float | None = None
        """Seconds of the path's round trip, without what answers wait behind data."""

    def tick(self, now: float) -> bool:
        """False when the peer is dead. To be called TICKS times an interval, `due` after it."""
        if now - self._ticked_at > self._interval:
            self.heard_at = now  # this process was suspended: what came meanwhile is not read yet
        self._ticked_at = now
        return self._sent is None or now - self.heard_at < self._timeout

    def due(self, now: float) -> int | None:
        """The number of the ping to send now, None while it is not time or one is under way."""
        return None if self._sent is not None or now < self._due else self._send(now)

    def probe(self, now: float) -> int | None:
        """As `due`, for a session whose windows depend on the path: the next ping comes sooner."""
        return None if self._sent is not None or now < self._probe_due else self._send(now)

    def _send(self, now: float) -> int:
        self._sent = now
        self._quiet = 0.0
        self._due = now + self._interval * (1 - 0.5 / TICKS)
        self._probe_due = now + PROBE_INTERVAL
        self._id = (self._id + 1) & 0xFFFF_FFFF
        return self._id

    def heard(self, now: float) -> None:
        """Bytes came."""
        self.heard_at = now
        if self._sent is not None:
            self._quiet += now - max(self._rested_at, self._sent)

    def rested(self, now: float) -> None:
        """What came was dealt with."""
        self._rested_at = now

    def answered(self, number: int, now: float) -> None:
        """The answer to a ping came; `heard` was told of its bytes.

        A longer round trip is the path's when this end had nothing to do for a quarter of it. Otherwise the
        answer has waited here behind data.
        """
        if self._sent is None or number != self._id:
            return
        self.rtt = now - self._sent
        self._sent = None
        if self.path_rtt is None or self.rtt < self.path_rtt or self._quiet >= self.rtt / 4:
            self.path_rtt = self.rtt
