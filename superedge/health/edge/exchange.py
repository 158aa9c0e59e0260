"""Exchanges ballots with peers over links, and sends them to the cloud over the uplink."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from superedge.errors import SuperEdgeError
from superedge.health import metrics
from superedge.health.edge.forwarding import Forwarding
from superedge.health.edge.partners import Partners
from superedge.health.edge.voter import Voter
from superedge.health.protocol import HealthProtocol
from superedge.health.votes.ballot import Refused, SignedBallot
from superedge.health.votes.ballotbox import BallotBox
from superedge.health.votes.messages import (
    FROM_CLOUD,
    NO_ROUTE,
    PORT,
    Ballots,
    Chain,
    Change,
    Hello,
    Hops,
    Member,
    Message,
    Ping,
    Pong,
    Unit,
)
from superedge.health.votes.reference import ReferenceClock
from superedge.health.votes.signing import Verifier
from superedge.health.votes.timing import Timing
from superedge.reactor.periodic import PeriodicCall

TEND = 2.0
"""Seconds between two checks of the links."""
LINKS = 2
"""Maximum number of links with one peer, because both may dial at the same time."""
GATHER = 0.2
"""Seconds in which several changes become one ballot."""
STEP = 1000
"""Milliseconds by which this node's time must change for its peers to be told."""
AHEAD = 366 * 86_400_000
"""Milliseconds by which a sequence number may be ahead of the time to be believed: a node whose clock was
ahead has such numbers. From a peer that lies, this leaves enough of them."""
SILENCE = 3.5
"""Renewal periods without a message after which a link is closed."""

_log = Logger()


class Dialler(Protocol):
    """Opens links."""

    def dial(self, member: Member, failed: Callable[[str], None]) -> None:
        """Dial a peer. ``failed`` is called with the reason when no link results."""


class Exchange(Service):
    """Links with peers, and the uplink to the cloud. ``joined`` is called with units that the cloud sends."""

    name = "health-exchange"

    def __init__(
        self,
        reactor: IReactorTime,
        voter: Voter,
        clock: ReferenceClock,
        verifier: Verifier,
        timing: Timing,
        joined: Callable[[Unit], None],
        port: int = PORT,
    ) -> None:
        """``port`` is the port on which this node accepts links."""
        self._reactor = reactor
        self._voter = voter
        self._clock = clock
        self._verifier = verifier
        self._timing = timing
        self._joined = joined
        self._port = port
        self.box = BallotBox(verifier, self._unit_of)
        self._links: dict[HealthProtocol, str] = {}
        self._forwarding = Forwarding(
            reactor, voter, verifier, self._links, lambda: self.box.current(clock.now())
        )
        self._heard_at: dict[HealthProtocol, float] = {}
        self._partners = Partners(voter)
        self._uplink: HealthProtocol | None = None
        self._soon: IDelayedCall | None = None
        self._own: SignedBallot | None = None
        self._another_time = False
        self.dialler: Dialler | None = None
        self._renewing = PeriodicCall(reactor, timing.renew, self._vote)
        self._tending = PeriodicCall(reactor, TEND, self._tend)

    def _unit_of(self, node: str) -> str | None:
        return self._voter.unit.name if self._voter.member(node) is not None else None

    # -- state

    @property
    def hops(self) -> int:
        """Number of links between this node and one with a session; NO_ROUTE when there is none."""
        return self._forwarding.hops

    @property
    def connected(self) -> bool:
        """Whether this node has an uplink of its own."""
        return self._uplink is not None and self._uplink.heard is not None

    def linked(self) -> Collection[str]:
        """The peers of all links."""
        return sorted(set(self._links.values()))

    # -- service

    def startService(self) -> None:
        """Start."""
        super().startService()
        self._renewing.start()
        self._tending.start()
        self.changed()

    def stopService(self) -> None:
        """Close all connections."""
        super().stopService()
        self._renewing.stop()
        self._tending.stop()
        self._forwarding.stop()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        for connection in [*self._links, *filter(None, [self._uplink])]:
            connection.end("the process stops")

    def rejoin(self) -> None:
        """Call it after the voter joined another unit, or its unit's members changed."""
        member = self._voter.member
        self.box.forget(lambda voter: member(voter) is not None)
        for connection, peer in list(self._links.items()):
            if member(peer) is None:
                connection.end("the peer is no longer a member of this unit")
        self._partners.forget()
        self.changed()
        if self.running:
            self._tend()

    def relink(self) -> None:
        """Make all links anew: their peers show every certificate once on each."""
        for connection in list(self._links):
            connection.end("the CAs changed")

    # -- the own ballot

    def changed(self) -> None:
        """Call it after an opinion changed: a ballot is sent soon."""
        if self._soon is None and self.running:
            self._soon = self._reactor.callLater(GATHER, self._vote)

    def _vote(self) -> None:
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        self._soon = None
        if self._another_time:
            self._another_time = False
            for connection in self._links:
                connection.send(self._hello(connection))
        if self._voter.member(self._voter.name) is None:
            return
        self._own = self._voter.vote(self._reactor.seconds())
        metrics.VOTES.inc()
        for connection in self._everybody():
            connection.vote(self._own, self._voter.chain)

    def _everybody(self) -> list[HealthProtocol]:
        return [*self._links, *([self._uplink] if self.connected and self._uplink is not None else [])]

    # -- connections

    def link(self) -> HealthProtocol:
        """The protocol for a new link; call `up` once its peer is authenticated."""
        return HealthProtocol(self._reactor, self._hello, self._from_peer, self._link_ended)

    def admits(self, peer: str) -> bool:
        """Whether this peer may have one more link."""
        links = list(self._links.values()).count(peer)
        return self._voter.member(peer) is not None and peer != self._voter.name and links < LINKS

    def has(self, connection: HealthProtocol) -> bool:
        """Whether a link is established."""
        return connection in self._links

    def up(self, connection: HealthProtocol, peer: str) -> None:
        """A link's peer is authenticated. Call it before the first message."""
        self._links[connection] = peer
        self._heard_at[connection] = self._reactor.seconds()
        self._partners.linked(peer)
        metrics.LINKS.set(len(self._links))

    def uplink(self) -> HealthProtocol:
        """The protocol for a new uplink; it replaces the previous one. Raises SuperEdgeError when stopped."""
        if not self.running:
            raise SuperEdgeError("edge health is stopping on this node")
        before = self._uplink
        connection = self._uplink = HealthProtocol(
            self._reactor, self._hello, self._from_cloud, self._uplink_ended, FROM_CLOUD
        )
        if before is not None:
            before.end("the cloud opened another stream")
        return connection

    def _hello(self, connection: HealthProtocol) -> Hello:
        peer = self._links.get(connection)
        last = 0 if peer is None else self.box.last(peer)
        return Hello(self._clock.now(), self._clock.heard, self.hops, last, self._port)

    def _introduce(self, connection: HealthProtocol) -> None:
        """Send the current ballot on a new connection."""
        if self._own is None:
            self._vote()
        elif self._voter.member(self._voter.name) is not None:
            connection.vote(self._own, self._voter.chain)

    def _adjust(self, change: Callable[[], None]) -> bool:
        """Change the clock. Returns whether the time is another now; then peers get it soon, and a ballot."""
        heard, before = self._clock.heard, self._clock.now()
        change()
        if self._clock.heard is heard and abs(self._clock.now() - before) < STEP:
            return False
        self._another_time = True
        self.changed()
        return True

    # -- received messages

    def _from_cloud(self, connection: HealthProtocol, message: Message) -> None:
        if connection is not self._uplink:
            return
        if isinstance(message, Hello):
            self._adjust(partial(self._clock.cloud_says, message.now))
            self._learn_sequence(message.last)
            self._forwarding.session(connection)
            self._vote()
        elif isinstance(message, Ping):
            self._adjust(partial(self._clock.cloud_says, message.now))
            connection.send(Pong(message.number))
        elif isinstance(message, Unit):
            self._joined(message)
        elif isinstance(message, Change):
            self._joined(message.applied(self._voter.unit))

    def _from_peer(self, connection: HealthProtocol, message: Message) -> None:
        peer = self._links.get(connection)
        if peer is None:
            return
        self._heard_at[connection] = self._reactor.seconds()
        if isinstance(message, Hello):
            adjusted = message.heard and self._adjust(
                partial(self._clock.peer_says, peer, message.now, message.hops)
            )
            self._learn_sequence(message.last)
            self._forwarding.joined(connection, message.hops)
            if not adjusted:
                self._introduce(connection)
        elif isinstance(message, Hops):
            self._adjust(partial(self._clock.peer_moved, peer, message.hops))
            self._forwarding.moved(connection, message.hops)
        elif isinstance(message, Chain):
            self._learn(message)
        elif isinstance(message, Ballots):
            for signed in message.ballots:
                self._ballot(connection, signed)
        else:
            connection.end("peers may not send this kind of message")

    def _learn_sequence(self, last: int) -> None:
        if last <= self._clock.now() + AHEAD:
            self._voter.at_least(last)

    def _learn(self, message: Chain) -> None:
        try:
            self._verifier.learn(message.certificates, self._clock.now())
        except Refused as problem:
            self._refused(problem)

    def _ballot(self, connection: HealthProtocol, signed: SignedBallot) -> None:
        try:
            ballot = self.box.take(signed, self._clock.now())
        except Refused as problem:
            self._refused(problem)
            return
        if ballot is None or ballot.voter == self._voter.name:
            return
        metrics.BALLOTS_TAKEN.labels("edge").inc()
        self._forwarding.take(connection, signed)

    def _refused(self, problem: Refused) -> None:
        metrics.BALLOTS_REFUSED.labels("edge", problem.reason).inc()
        _log.debug("refused: {problem}", problem=problem)

    # -- lost connections

    def _uplink_ended(self, connection: HealthProtocol, reason: str) -> None:
        if connection is not self._uplink:
            return
        self._uplink = None
        self._adjust(self._clock.session_lost)
        self._forwarding.session(None)

    def _link_ended(self, connection: HealthProtocol, reason: str) -> None:
        peer = self._links.pop(connection, None)
        self._heard_at.pop(connection, None)
        metrics.LINKS.set(len(self._links))
        if peer is None:
            return
        _log.debug("link with {peer} ended: {reason}", peer=peer, reason=reason)
        if peer not in self._links.values():
            self._adjust(partial(self._clock.peer_moved, peer, NO_ROUTE))
        self._forwarding.left(connection)

    def _tend(self) -> None:
        """Close silent links, and dial peers when there are too few."""
        now = self._reactor.seconds()
        for connection, at in list(self._heard_at.items()):
            if now - at > SILENCE * self._timing.renew:
                connection.end("no message for too long")
        if self.dialler is not None and self._voter.member(self._voter.name) is not None:
            for member in self._partners.due(set(self._links.values()), now):
                self.dialler.dial(member, partial(self._dial_failed, member.name))

    def _dial_failed(self, peer: str, reason: str) -> None:
        self._partners.failed(peer, self._reactor.seconds())
        _log.debug("no link with {peer}: {reason}", peer=peer, reason=reason)

    def status(self) -> dict[str, Any]:
        """The exchange's part of the status page."""
        now = self._clock.now()
        return {
            "connected": self.connected,
            "hops": self.hops,
            "links": self.linked(),
            "time_from_cloud": self._clock.heard,
            "ballots": [
                {
                    "voter": held.ballot.voter,
                    "issued": held.ballot.issued,
                    "expires": held.until,
                    "rows": [
                        {
                            "peer": row.peer,
                            "says": row.opinion.name.lower(),
                            "score": row.score,
                            "age": row.age,
                        }
                        for row in held.ballot.rows
                    ],
                }
                for held in sorted(self.box.current(now), key=lambda each: each.ballot.voter)
            ],
        }
