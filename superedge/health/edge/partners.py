"""Whom a node keeps links to: the first of its witnesses that it reaches. Pure: times are arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from superedge.health.edge.voter import Voter
from superedge.health.votes.ballot import Opinion
from superedge.health.votes.messages import Member
from superedge.health.votes.witnesses import witnesses_of
from superedge.reactor.backoff import Backoff

PARTNERS = 2
"""Peers that a node keeps links to; about as many keep one to it."""
CANDIDATES = 16
"""Among whom it chooses."""


class Partners:
    """Says whom to dial, each at most once at a time, those that do not answer ever more seldom."""

    def __init__(self, voter: Voter) -> None:
        self._voter = voter
        self._candidates: list[str] | None = None
        self._dialling: set[str] = set()
        self._backoffs: dict[str, tuple[Backoff, float]] = {}

    def due(self, linked: Collection[str], now: float) -> Iterator[Member]:
        """Who is to be dialled now; count it as under way until `linked` or `failed`."""
        wanted = 0
        if self._candidates is None:
            names = [member.name for member in self._voter.unit.members]
            self._candidates = witnesses_of(self._voter.name, names, CANDIDATES)
        for peer in self._candidates:
            state = self._voter.peers.get(peer)
            if state is not None and state.opinion is Opinion.UNHEALTHY:
                continue
            wanted += 1
            if wanted > PARTNERS:
                return
            not_before = self._backoffs[peer][1] if peer in self._backoffs else now
            member = self._voter.member(peer)
            if member is not None and peer not in linked and peer not in self._dialling and now >= not_before:
                self._dialling.add(peer)
                yield member

    def linked(self, peer: str) -> None:
        """There is a link."""
        self._dialling.discard(peer)
        self._backoffs.pop(peer, None)

    def failed(self, peer: str, now: float) -> None:
        """There is none."""
        self._dialling.discard(peer)
        backoff = self._backoffs[peer][0] if peer in self._backoffs else Backoff(initial=2.0, maximum=30.0)
        self._backoffs[peer] = backoff, now + backoff.failed(now)

    def forget(self) -> None:
        """The unit is another: whoever did not answer may answer now."""
        self._candidates = None
        self._backoffs.clear()
