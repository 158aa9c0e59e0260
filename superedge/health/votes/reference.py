"""The cloud's time on a machine whose own clock may be wrong. Pure.

The cloud sends it over the tunnel session. A node without a session uses the median of what its peers send,
and until then its own clock.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median_low

PEERS = 16
"""Maximum number of peers whose time is remembered."""


class ReferenceClock:
    """The cloud's time in milliseconds since 1970."""

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        """``wall`` gives this machine's seconds since 1970, ``monotonic`` seconds that never jump."""
        self._wall = wall
        self._monotonic = monotonic
        self._from_cloud: float | None = None
        self._from_peers: dict[str, float] = {}

    @property
    def heard(self) -> bool:
        """Whether the time comes from the cloud, directly or over peers."""
        return self._from_cloud is not None or bool(self._from_peers)

    def now(self) -> int:
        """The time."""
        if self._from_cloud is not None:
            return int(self._from_cloud + self._monotonic() * 1000)
        if self._from_peers:
            return int(median_low(self._from_peers.values()) + self._monotonic() * 1000)
        return int(self._wall() * 1000)

    def cloud_says(self, now: int) -> None:
        """The cloud sent its time."""
        self._from_cloud = now - self._monotonic() * 1000

    def peer_says(self, peer: str, now: int) -> None:
        """A peer that has the cloud's time sent it."""
        self._from_peers.pop(peer, None)
        self._from_peers[peer] = now - self._monotonic() * 1000
        if len(self._from_peers) > PEERS:
            del self._from_peers[next(iter(self._from_peers))]
