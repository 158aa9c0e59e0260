"""Receive credit: how much a peer may send on a stream before it must wait.

A stream's window bounds the bytes in flight to it and the bytes that wait for its reader. The window becomes
twice what the reader drains in one round trip: a long path is used fully after its first round trip, and a
short path builds no queue. Beyond WIDE_WINDOW, the window is at most twice what was drained in the last
whole round trip or in the current one, and shrinks to that. The windows of a session share one allowance.
Each window takes at most half of what is left; when little is left, windows beyond their share shrink as
they drain.
"""

from __future__ import annotations

from superedge.mux.settings import INITIAL_WINDOW, MuxSettings

SHORTEST_MEASURE = 0.0005
"""Seconds. A rate measured over less time shows how fast bytes were read, not how fast they came."""
WIDE_WINDOW = 16 * 1024 * 1024
"""Largest window, in bytes, that a short burst may cause: the reader may stop after the burst."""
TIGHT_WINDOW = 16 * 1024
"""Window of every stream, in bytes, while the bytes that wait for readers exceed the session's buffer."""


def _step(limit: int) -> int:
    """The least credit that is worth a window update frame."""
    return max(min(limit, INITIAL_WINDOW) >> 1, limit >> 5)


INITIAL_STEP, TIGHT_STEP = _step(INITIAL_WINDOW), _step(TIGHT_WINDOW)


class Allowance:
    """The bytes by which all windows of a session together may exceed their initial size."""

    __slots__ = ("buffered", "grown", "left", "max_window", "total")

    def __init__(self, settings: MuxSettings) -> None:
        self.max_window = settings.max_window
        self.total = self.left = settings.session_buffer
        self.grown = 0
        """Number of windows beyond the initial size."""
        self.buffered = 0
        """Received bytes that no reader has taken yet."""

    def size(self, current: int, wanted: int) -> int:
        """The size that a window of ``current`` bytes may have when it asks for ``wanted``."""
        most = self.max_window
        if self.left < self.total >> 2:
            most = min(most, max(INITIAL_WINDOW, self.total // max(self.grown, 1)))
        size = min(wanted, most, current + (self.left >> 1))
        self.left -= size - current
        self.grown += (size > INITIAL_WINDOW) - (current > INITIAL_WINDOW)
        return size


class ReceiveWindow:
    """The credit of one stream's receiving side."""

    __slots__ = (
        "_allowance",
        "_drained",
        "_since",
        "_step",
        "_trip",
        "_trip_drained",
        "_trip_since",
        "available",
        "buffered",
        "size",
    )

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self.size = INITIAL_WINDOW
        self._step = INITIAL_STEP
        self.available = INITIAL_WINDOW
        """Bytes that the peer may still send."""
        self.buffered = 0
        """Bytes received and not yet taken by the reader."""
        self._since: float | None = None
        self._drained = 0
        """Bytes that the reader took since ``_since``, when credit was given last."""
        self._trip = 0
        """Bytes that the reader took in the last whole round trip."""
        self._trip_since = 0.0
        self._trip_drained = 0
        """Bytes that the reader took since ``_trip_since``, when the current round trip began."""

    def receive(self, count: int) -> bool:
        """Account for received bytes. Return False when they exceed the peer's credit."""
        self.available -= count
        self.buffered += count
        self._allowance.buffered += count
        return self.available >= 0

    def consume(self, count: int, now: float, rtt: float | None) -> int:
        """Account for ``count`` bytes as read.

        Return the credit to send now, 0 if it is too little for a frame.
        """
        allowance = self._allowance
        self.buffered -= count
        allowance.buffered -= count
        if self._since is None:
            self._since = now  # the first bytes give no rate
        else:
            self._drained += count
        limit, step = self.size, self._step
        if allowance.buffered > allowance.total:
            limit, step = TIGHT_WINDOW, TIGHT_STEP
        outstanding = self.available + self.buffered
        if limit - outstanding < step:
            return 0
        if rtt is not None and limit == self.size:
            limit = self.size = allowance.size(limit, self._wanted(self._since, now, rtt))
            step = self._step = _step(limit)
        credit = limit - outstanding
        if credit < step:
            return 0
        self._since, self._drained = now, 0
        self.available += credit
        return credit

    def _wanted(self, since: float, now: float, rtt: float) -> int:
        """The size for the reader's rate. Only a window beyond WIDE_WINDOW may shrink."""
        self._trip_drained += self._drained
        elapsed = now - self._trip_since
        if elapsed >= max(rtt, SHORTEST_MEASURE):
            self._trip = int(self._trip_drained * rtt / elapsed)
            self._trip_since, self._trip_drained = now, 0
        pace = self._drained / max(now - since, SHORTEST_MEASURE)
        proven = max(2 * self._trip, 2 * self._trip_drained, WIDE_WINDOW)
        wanted = min(int(2 * pace * rtt), proven)
        return max(wanted, self.size if self.size <= proven else self.size - self._step)

    def drain(self, count: int) -> None:
        """Account for ``count`` bytes as read after the peer's FIN: the peer needs no more credit."""
        self.buffered -= count
        self._allowance.buffered -= count
        if not self.buffered:
            self.release()

    def release(self) -> None:
        """Return everything to the session's allowance."""
        allowance = self._allowance
        allowance.left += self.size - INITIAL_WINDOW
        allowance.grown -= self.size > INITIAL_WINDOW
        allowance.buffered -= self.buffered
        self.size = INITIAL_WINDOW
        self.buffered = 0
