"""Frames that carry nothing: empty data, pings, streams that are reset at once. Pure."""

from __future__ import annotations

from superedge.mux.errors import ProtocolError

NOISE_LIMIT = 20_000
NOISE_DECAY = 2_000
"""More than NOISE_LIMIT ahead of NOISE_DECAY a second are a flood."""
UNASKED = 20
"""What a stream counts that the peer may not open at all."""


class Noise:
    """How many a peer has sent of late; times are seconds on any steady clock."""

    __slots__ = ("_at", "_level")

    def __init__(self, now: float) -> None:
        self._level = 0.0
        self._at = now

    def note(self, now: float, count: int = 1) -> None:
        """One more came that counts as so many. Raises ProtocolError when that makes a flood."""
        self._level = max(0.0, self._level - (now - self._at) * NOISE_DECAY) + count
        self._at = now
        if self._level > NOISE_LIMIT:
            raise ProtocolError("the peer floods the session with frames that carry nothing")
