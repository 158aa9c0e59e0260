"""Whether the other end of an HTTP/2 connection is still there. Pure."""

from __future__ import annotations

PING_AFTER = 5.0
"""Seconds of silence, with requests under way, after which the server is asked for a sign of life."""
PING_TIMEOUT = 5.0
"""Seconds that the server has for it."""


class Keepalive:
    """Anything that comes in is a sign of life; times are seconds on any steady clock."""

    def __init__(self, now: float) -> None:
        self._heard = now
        self._asked: float | None = None

    def heard(self, now: float) -> None:
        """Bytes came."""
        self._heard = now

    def due(self, now: float) -> bool:
        """Whether to ask, now that requests are under way; who is told so does."""
        return now - self._heard >= PING_AFTER and self.ask(now)

    def ask(self, now: float) -> bool:
        """Whether to ask at once; who is told so does. Not while an answer is outstanding."""
        if self._asked is not None:
            return False
        self._asked = now
        return True

    def dead(self, now: float) -> bool:
        """Whether the server was asked and gave no sign in time."""
        if self._asked is None:
            return False
        if self._heard >= self._asked:
            self._asked = None
            return False
        return now - self._asked >= PING_TIMEOUT
