"""Receive credit: how much a peer may send on a stream before it must wait.

Credit goes back when half a window is consumed. A window doubles when it was drained within one
round trip, since then the sender waits for credit and not for the network. All windows of a session
share one allowance, so that many fast streams get smaller windows instead of much memory.
"""

from __future__ import annotations

from superedge.mux.settings import INITIAL_WINDOW, MuxSettings


class Allowance:
    """What the windows of one session may hold together beyond their initial size."""

    def __init__(self, settings: MuxSettings) -> None:
        self.max_window = settings.max_window
        self.total = settings.session_buffer
        self.used = 0


class ReceiveWindow:
    """The credit of one stream's receiving side."""

    __slots__ = ("_allowance", "available", "consumed", "size", "updated_at")

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self.size = INITIAL_WINDOW
        self.available = INITIAL_WINDOW
        """Bytes the peer may still send."""
        self.consumed = 0
        """Bytes taken by the reader and not yet given back as credit."""
        self.updated_at = 0.0

    def consume(self, count: int, now: float, rtt: float | None) -> int:
        """Note ``count`` bytes as read; the credit to send now, 0 if it is too little for a frame."""
        self.consumed += count
        if self.consumed < self.size >> 1:
            return 0
        credit = self.consumed + self._growth(now, rtt)
        self.consumed = 0
        self.available += credit
        self.updated_at = now
        return credit

    def _growth(self, now: float, rtt: float | None) -> int:
        if rtt is None or now - self.updated_at > rtt or self.size >= self._allowance.max_window:
            return 0
        growth = min(self.size, self._allowance.max_window - self.size)
        if self._allowance.used + growth > self._allowance.total:
            return 0
        self._allowance.used += growth
        self.size += growth
        return growth

    def release(self) -> None:
        """Give what this window took back to the session's allowance."""
        self._allowance.used -= self.size - INITIAL_WINDOW
        self.size = INITIAL_WINDOW
