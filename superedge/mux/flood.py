"""Protection against floods of frames without data: empty data, pings, streams that are reset at once.

Pure.
"""

from __future__ import annotations

from superedge.mux.errors import ProtocolError

FLOOD_LIMIT = 20_000
FLOOD_DECAY = 2_000
"""A leaky bucket: FLOOD_LIMIT frames may come at once, and FLOOD_DECAY a second."""
UNEXPECTED_STREAM = 20
"""Weight of a stream that the peer may not open at all."""


class FloodGuard:
    """Counts a peer's frames without data. Times are in seconds of a monotonic clock."""

    __slots__ = ("_at", "_level")

    def __init__(self, now: float) -> None:
        self._level = 0.0
        self._at = now

    def count(self, now: float, weight: int = 1) -> None:
        """Count a frame as ``weight`` frames. Raises ProtocolError when they are a flood."""
        self._level = max(0.0, self._level - (now - self._at) * FLOOD_DECAY) + weight
        self._at = now
        if self._level > FLOOD_LIMIT:
            raise ProtocolError("the peer floods the session with frames that carry nothing")
