"""Routes ballots towards the cloud. Pure.

A node with a session sends its own ballot to the cloud, and those of peers without a session. A node without
a session passes ballots on to the peers that are the fewest hops away from a session.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from superedge.health.votes.messages import NO_ROUTE

WAYS = 2
"""Number of links on which a ballot is passed on: one peer that drops it does no harm."""

Link = TypeVar("Link", bound=Hashable)


class Relay(Generic[Link]):
    """The number of hops that the peer of each link announced."""

    def __init__(self) -> None:
        self._links: dict[Link, int] = {}
        self._session = False
        self.hops = NO_ROUTE
        """This node's own: 0 with a session, NO_ROUTE without a route."""

    def session(self, there: bool) -> bool:
        """The session started or ended. Returns whether ``hops`` changed."""
        self._session = there
        return self._count()

    def announce(self, link: Link, hops: int) -> bool:
        """A link's peer announced its hops. Returns whether ``hops`` changed."""
        self._links[link] = min(max(hops, 0), NO_ROUTE)
        return self._count()

    def drop(self, link: Link) -> bool:
        """A link was lost. Returns whether ``hops`` changed."""
        self._links.pop(link, None)
        return self._count()

    def _count(self) -> bool:
        before = self.hops
        nearest = min(self._links.values(), default=NO_ROUTE)
        self.hops = 0 if self._session else min(nearest + 1, NO_ROUTE)
        return self.hops != before

    def forwards_from(self, link: Link) -> bool:
        """Whether ballots from this link are passed on: its peer has no session."""
        return self._links.get(link, NO_ROUTE) > 0

    def onward(self, source: Link) -> list[Link]:
        """Links on which to pass on a ballot from ``source``; none while this node has a session."""
        if self._session:
            return []
        near = [link for link, hops in self._links.items() if hops < self.hops and link != source]
        return sorted(near, key=self._links.__getitem__)[:WAYS]
