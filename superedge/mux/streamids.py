"""The numbers of the streams that the peer opens. Pure."""

from __future__ import annotations

from superedge.mux.errors import ProtocolError

MAX_SKIPPED = 4096
"""Numbers passed over that may still come."""


class PeerIds:
    """Each number of the peer's parity is used once; a peer with threads may open a later one first."""

    def __init__(self, parity: int) -> None:
        self._parity = parity
        self._last = -parity
        self._skipped: set[int] = set()

    def take(self, id: int) -> None:
        """Note that the peer opens a stream. Raises ProtocolError when it may not."""
        if id & 1 != self._parity:
            raise ProtocolError(f"the peer opened stream {id}, an id of ours")
        if id > self._last:
            if (id - self._last) // 2 + len(self._skipped) > MAX_SKIPPED:
                raise ProtocolError(f"the peer opened stream {id} after {self._last}")
            self._skipped.update(range(self._last + 2, id, 2))
            self._last = id
        elif id in self._skipped:
            self._skipped.discard(id)
        else:
            raise ProtocolError(f"the peer opened stream {id} again")
