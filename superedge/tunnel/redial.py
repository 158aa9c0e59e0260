"""The delay before an edge dials again. Pure: times are in seconds of a monotonic clock."""

from __future__ import annotations

from random import Random

from superedge.reactor.backoff import Backoff

STABLE_SESSION = 2.0
"""Seconds that a session must last for an immediate redial."""
RECONNECT_JITTER = 0.1
"""Seconds over which the immediate redials of many edges are spread."""
SHORT_SESSION_PAUSE = 2.0
"""Longest wait, seconds, after a session that worked for less than STABLE_SESSION."""
REFUSED_PAUSE = 1.0
"""Longest wait, seconds, while a server refuses at once, as a restarting server or load balancer does."""
REFUSED_TIME = 60.0
"""Seconds without a session after which a server that refuses is tried as rarely as one that does not
answer."""


class Redial:
    """Decides the delay by how long the last session lasted, or by why there was none."""

    def __init__(
        self, initial: float, maximum: float, initial_attempts: int = 1, random: Random | None = None
    ) -> None:
        """``initial``, ``maximum`` and ``initial_attempts`` are those of `Backoff`."""
        self._random = random or Random()
        self._jitter = min(RECONNECT_JITTER, initial)
        self._backoff = Backoff(initial, maximum, random=self._random, initial_attempts=initial_attempts)
        self._failing_since: float | None = None

    def failed(self, now: float, refused: bool) -> float:
        """No connection: a server ``refused`` it, or none answered. Return the delay, seconds."""
        if self._failing_since is None:
            self._failing_since = now
        if refused and now - self._failing_since < REFUSED_TIME:
            return self._backoff.failed(now, REFUSED_PAUSE)
        return self._backoff.failed(now)

    def ended(self, now: float, lasted: float, worked: bool) -> float:
        """A session that ``lasted`` so many seconds has ended. Return the delay, seconds.

        It ``worked`` if the peer answered on it: a peer reports a refused certificate only after the
        handshake.
        """
        if not worked:
            return self._backoff.failed(now)
        self._failing_since = None
        if lasted < STABLE_SESSION:
            return self._backoff.failed(now, SHORT_SESSION_PAUSE)
        self._backoff.reset()
        return self._jitter * self._random.random()
