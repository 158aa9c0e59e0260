"""Passes peers' ballots on towards the cloud, each with its voter's certificate chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from superedge.health.edge.relay import Relay
from superedge.health.edge.voter import Voter
from superedge.health.protocol import HealthProtocol
from superedge.health.votes.ballot import SignedBallot
from superedge.health.votes.ballotbox import Held
from superedge.health.votes.messages import Hops
from superedge.health.votes.signing import Verifier
from superedge.net.bucket import Bucket

REROUTE = 2.0
"""Seconds between two answers to changed routes in the long run: each may send all ballots, and one peer can
cause any number of them."""
REROUTES = 8
"""Answers without a wait after a pause."""


class Forwarding:
    """Knows the routes to the cloud. ``links`` are this node's links and their peers.

    ``current`` returns the ballots that are valid now.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        voter: Voter,
        verifier: Verifier,
        links: Mapping[HealthProtocol, str],
        current: Callable[[], Iterable[Held]],
    ) -> None:
        self._reactor = reactor
        self._voter = voter
        self._verifier = verifier
        self._links = links
        self._current = current
        self._relay: Relay[HealthProtocol] = Relay()
        self._uplink: HealthProtocol | None = None
        self._answers = Bucket(1 / REROUTE, REROUTES, reactor.seconds())
        self._later: IDelayedCall | None = None
        self._moved = False
        self._running = True

    @property
    def hops(self) -> int:
        """Number of links between this node and one with a session; NO_ROUTE when there is none."""
        return self._relay.hops

    def stop(self) -> None:
        """Pass nothing on any more when routes change."""
        self._running = False
        if self._later is not None:
            self._later.cancel()
            self._later = None

    # -- routes

    def session(self, uplink: HealthProtocol | None) -> None:
        """The session with the cloud started, or ended (None)."""
        self._uplink = uplink
        self._routes(self._relay.session(uplink is not None), way=uplink is not None)

    def joined(self, link: HealthProtocol, hops: int) -> None:
        """A new link's peer is so many hops away from the cloud."""
        self._routes(self._relay.announce(link, hops))

    def moved(self, link: HealthProtocol, hops: int) -> None:
        """A peer's number of hops changed."""
        self._routes(self._relay.announce(link, hops), way=True)

    def left(self, link: HealthProtocol) -> None:
        """A link ended."""
        self._routes(self._relay.drop(link))

    def _routes(self, moved: bool, way: bool = False) -> None:
        """``moved``: this node's number of hops changed. ``way``: ballots may have another way."""
        self._moved = self._moved or moved
        if self._running and self._later is None and (moved or way):
            wait = self._answers.delay(self._reactor.seconds())
            if wait:
                self._later = self._reactor.callLater(wait, self._reroute)
            else:
                self._reroute()

    def _reroute(self) -> None:
        """Tell the peers, and pass on all ballots."""
        self._later = None
        self._answers.consume(1, self._reactor.seconds())
        if self._moved:
            self._moved = False
            for link in self._links:
                link.send(Hops(self.hops))
        source = next(filter(self._relay.forwards_from, self._links), None)
        if source is not None:
            near = {peer for link, peer in self._links.items() if not self._relay.forwards_from(link)}
            for held in self._current():
                if held.ballot.voter not in near and held.ballot.voter != self._voter.name:
                    self._pass_on(source, held.signed)

    # -- ballots

    def take(self, link: HealthProtocol, signed: SignedBallot) -> None:
        """Pass on a new ballot, if its link's peer has no session."""
        if self._relay.forwards_from(link):
            self._pass_on(link, signed)

    def _pass_on(self, source: HealthProtocol, signed: SignedBallot) -> None:
        chain = self._verifier.chain_of(signed)
        if chain is None:
            return
        if self._uplink is not None:
            self._uplink.vote(signed, chain)
            return
        for link in self._relay.onward(source):
            link.vote(signed, chain)
