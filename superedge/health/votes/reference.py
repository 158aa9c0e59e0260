"""The cloud's time on a machine whose own clock may be wrong. Pure.

The cloud sends it over the tunnel session. A node without a session uses the median of its peers' times, of
those peers that are nearest to the cloud: a new judge may have another time than the last one, and they have
the new one's. An even number of them is joined by the time that the node itself had from the cloud, so that
one of two that lies decides nothing. Without a route to the cloud a node keeps the last time that the cloud
sent it. One that never had any uses its peers' times, and until then its own clock.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median_low

from superedge.health.votes.messages import NO_ROUTE

PEERS = 16
"""Maximum number of peers whose time is remembered."""


class ReferenceClock:
    """The cloud's time in milliseconds since 1970."""

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        """``wall`` gives this machine's seconds since 1970, ``monotonic`` seconds that never jump."""
        self._wall = wall
        self._monotonic = monotonic
        self._from_cloud: float | None = None
        self._has_session = False
        self._from_peers: dict[str, float] = {}
        self._hops: dict[str, int] = {}

    @property
    def heard(self) -> bool:
        """Whether the time comes from the cloud, directly or over peers."""
        return self._from_cloud is not None or bool(self._from_peers)

    def now(self) -> int:
        """The time."""
        offset = self._offset()
        return int(self._wall() * 1000 if offset is None else offset + self._monotonic() * 1000)

    def _offset(self) -> float | None:
        """Milliseconds from the monotonic clock to the cloud's."""
        nearest = min(self._hops.values(), default=NO_ROUTE)
        if self._from_cloud is not None and (self._has_session or nearest >= NO_ROUTE):
            return self._from_cloud
        near = [said for peer, said in self._from_peers.items() if self._hops[peer] == nearest]
        if len(near) % 2 == 0 and self._from_cloud is not None:
            near.append(self._from_cloud)
        return median_low(near) if near else None

    def cloud_says(self, now: int) -> None:
        """The cloud sent its time over the session."""
        self._from_cloud = now - self._monotonic() * 1000
        self._has_session = True

    def session_lost(self) -> None:
        """The session with the cloud ended."""
        self._has_session = False

    def peer_says(self, peer: str, now: int, hops: int) -> None:
        """A peer that has the cloud's time sent it; it is so many ``hops`` from the cloud."""
        self._from_peers.pop(peer, None)
        self._from_peers[peer] = now - self._monotonic() * 1000
        self._hops[peer] = max(hops, 0)
        if len(self._from_peers) > PEERS:
            first = next(iter(self._from_peers))
            del self._from_peers[first], self._hops[first]

    def peer_moved(self, peer: str, hops: int) -> None:
        """A peer's number of hops changed; NO_ROUTE when the link with it was lost."""
        if peer in self._hops:
            self._hops[peer] = max(hops, 0)
