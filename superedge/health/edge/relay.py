"""Which ballots go where. Pure.

A node with a session sends the cloud its own ballot, and those that come from nodes without one. A node
without passes on what it gets, towards the peers that are fewest hops from a session.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from superedge.health.votes.messages import NO_ROUTE

WAYS = 2
"""Links that a ballot is passed on over, so that one that drops it does not silence its voter."""

Link = TypeVar("Link", bound=Hashable)


class Relay(Generic[Link]):
    """The hops that this node's links announced."""

    def __init__(self) -> None:
        self._links: dict[Link, int] = {}
        self._session = False
        self.hops = NO_ROUTE
        """This node's own: 0 with a session, NO_ROUTE without any way."""

    def session(self, there: bool) -> bool:
        """The session with the cloud came or went; whether ``hops`` changed."""
        self._session = there
        return self._count()

    def announce(self, link: Link, hops: int) -> bool:
        """A link says how far its peer is; whether ``hops`` changed."""
        self._links[link] = min(max(hops, 0), NO_ROUTE)
        return self._count()

    def drop(self, link: Link) -> bool:
        """A link is gone; whether ``hops`` changed."""
        self._links.pop(link, None)
        return self._count()

    def _count(self) -> bool:
        before = self.hops
        nearest = min(self._links.values(), default=NO_ROUTE)
        self.hops = 0 if self._session else min(nearest + 1, NO_ROUTE)
        return self.hops != before

    def forwards_from(self, link: Link) -> bool:
        """Whether what comes over the link is to go further: its sender has no session."""
        return self._links.get(link, NO_ROUTE) > 0

    def onward(self, source: Link) -> list[Link]:
        """Links over which a ballot from ``source`` goes on; none while this node has a session itself."""
        if self._session:
            return []
        near = [link for link, hops in self._links.items() if hops < self.hops and link != source]
        return sorted(near, key=self._links.__getitem__)[:WAYS]
