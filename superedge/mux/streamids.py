"""The ids of the streams that the peer opens. Pure."""

from __future__ import annotations

from superedge.mux.errors import ProtocolError

MAX_SKIPPED = 4096
"""Most skipped ids that may still come."""


class PeerStreamIds:
    """Checks that the peer uses each id of its parity once. A peer with threads may use ids out of order."""

    def __init__(self, parity: int) -> None:
        self._parity = parity
        self._last = -parity
        self._skipped: set[int] = set()

    def take(self, id: int) -> None:
        """The peer opens a stream. Raises ProtocolError when it may not use the id."""
        if id & 1 != self._parity:
            raise ProtocolError(f"the peer opened stream {id}, an id of this end")
        if id > self._last:
            if (id - self._last) // 2 + len(self._skipped) > MAX_SKIPPED:
                raise ProtocolError(f"the peer opened stream {id} after {self._last}")
            self._skipped.update(range(self._last + 2, id, 2))
            self._last = id
        elif id in self._skipped:
            self._skipped.discard(id)
        else:
            raise ProtocolError(f"the peer opened stream {id} again")
