"""Chooses the peers to which a node keeps links. Pure: times are arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from superedge.health.edge.voter import Voter
from superedge.health.votes.ballot import Opinion
from superedge.health.votes.messages import Member
from superedge.health.votes.witnesses import witnesses_of
from superedge.reactor.backoff import Backoff

PARTNERS = 2
"""Number of peers to which a node keeps links; about as many keep one to it."""
CANDIDATES = 16
"""Number of witnesses among which it chooses."""


class Partners:
    """Says which peers to dial: each once at a time, with a backoff after failures."""

    def __init__(self, voter: Voter) -> None:
        self._voter = voter
        self._candidates: list[str] | None = None
        self._dialling: set[str] = set()
        self._backoffs: dict[str, tuple[Backoff, float]] = {}

    def due(self, linked: Collection[str], now: float) -> Iterator[Member]:
        """Peers to dial now. A dial counts as under way until `linked` or `failed` is called."""
        wanted = 0
        if self._candidates is None:
            names = [member.name for member in self._voter.unit.members if member.host]
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
        """A link with the peer is established."""
        self._dialling.discard(peer)
        self._backoffs.pop(peer, None)

    def failed(self, peer: str, now: float) -> None:
        """A dial failed."""
        self._dialling.discard(peer)
        backoff = self._backoffs[peer][0] if peer in self._backoffs else Backoff(initial=2.0, maximum=30.0)
        self._backoffs[peer] = backoff, now + backoff.failed(now)

    def forget(self) -> None:
        """Choose anew and drop all backoffs, after the unit changed."""
        self._candidates = None
        self._backoffs.clear()
