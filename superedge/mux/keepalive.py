"""Whether the peer is still there, and how far away: when to ping, and what the answers tell. Pure."""

from __future__ import annotations

from collections import deque

from superedge.mux.settings import MuxSettings

RTTS = 6
"""Pings of which the fastest tells the path's round trip: the others waited behind data."""
TICKS = 4
"""How often in a ping interval `Keepalive.tick` is called."""


class Keepalive:
    """Anything that comes in is a sign of life; times are seconds on any steady clock."""

    def __init__(self, settings: MuxSettings, now: float) -> None:
        self._interval = settings.ping_interval
        self._timeout = settings.ping_timeout
        self.heard_at = now
        """When bytes came last."""
        self._ticked_at = now
        self._due = now
        self._sent: float | None = None
        self._id = 0
        self._rtts: deque[float] = deque(maxlen=RTTS)
        self.rtt: float | None = None
        """Seconds of the last ping, None before the first answer."""
        self.path_rtt: float | None = None
        """Seconds of the path's round trip."""

    def tick(self, now: float) -> bool:
        """False when the peer is dead. To be called TICKS times an interval, `due` after it."""
        if now - self._ticked_at > self._interval:
            self.heard_at = now  # this process was suspended: what came meanwhile is not read yet
        self._ticked_at = now
        return self._sent is None or now - self.heard_at < self._timeout

    def due(self, now: float) -> int | None:
        """The number of the ping to send now, None while it is not time or one is under way."""
        if self._sent is not None or now < self._due:
            return None
        self._sent = now
        self._due = now + self._interval * (1 - 0.5 / TICKS)
        self._id = (self._id + 1) & 0xFFFF_FFFF
        return self._id

    def answered(self, number: int, now: float) -> None:
        """The answer to a ping came."""
        if self._sent is not None and number == self._id:
            self.rtt = now - self._sent
            self._sent = None
            self._rtts.append(self.rtt)
            self.path_rtt = min(self._rtts)
