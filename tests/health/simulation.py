"""Units of nodes on a clock of their own: real voters, probers, exchanges and judge, over a simple network.

Ballots are encoded as they are on the wire; signatures are left out, for they take most of the time. A probe
and a link are TCP: what the network loses is sent again at growing distances, as Linux does.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any, NamedTuple, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from superedge.health.cloud.assessment import Settings
from superedge.health.cloud.cluster import NodeFacts, NodeLease, Scope
from superedge.health.cloud.judge import Judge
from superedge.health.edge.exchange import Exchange
from superedge.health.edge.prober import Prober
from superedge.health.edge.voter import Voter
from superedge.health.protocol import HealthProtocol
from superedge.health.votes.ballot import Ballot, Refused, SignedBallot, decode_ballot, encode_ballot
from superedge.health.votes.messages import Ballots, Chain, Hello, Member, Message, Unit
from superedge.health.votes.reference import ReferenceClock
from superedge.health.votes.signing import Signer, Verifier, key_id
from superedge.health.votes.timing import Timing
from superedge.health.votes.verdicts import Verdict

EPOCH = 1_900_000_000.0
LATENCY = 0.0005
"""Seconds one way over the LAN."""
TIMEOUT = 2.0
"""Of a probe."""
FIRST_RETRANSMISSION = 0.2
"""Linux' least time-out of a segment, seconds; it doubles."""
OVERHEAD = 22 + 52
"""Bytes that TLS, TCP and IP add to what is written at once; as much as 52 comes back as acknowledgement."""
TIMING = Timing()
PROBE = (17 + OVERHEAD + 52, 44 + OVERHEAD)
"""Bytes of one probe of a kubelet over a connection that is kept: the prober's and the peer's."""


@implementer(IDelayedCall)
class _Call:
    __slots__ = ("_clock", "arguments", "cancelled", "function", "time")

    def __init__(self, clock: Time, time: float, function: Callable[..., object], arguments: Any) -> None:
        self._clock = clock
        self.time = time
        self.function = function
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
        self.function = lambda *_: None

    def active(self) -> bool:
        return not self.cancelled

    def getTime(self) -> float:
        return self.time

    def delay(self, secondsLater: float) -> None:
        raise NotImplementedError

    def reset(self, secondsFromNow: float) -> None:
        raise NotImplementedError


@implementer(IReactorTime)
class Time:
    """As `twisted.internet.task.Clock`, for many thousand calls."""

    def __init__(self) -> None:
        self._now = 0.0
        self._calls: list[tuple[float, int, _Call]] = []
        self._number = count()

    def seconds(self) -> float:
        return self._now

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> Any:
        call = _Call(self, self._now + max(0.0, delay), callable, args)
        heapq.heappush(self._calls, (call.time, next(self._number), call))
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return [call for _, _, call in self._calls]

    def advance(self, seconds: float) -> None:
        end = self._now + seconds
        while self._calls and self._calls[0][0] <= end:
            self._now, _, call = heapq.heappop(self._calls)
            if not call.cancelled:
                call.cancelled = True
                call.function(*call.arguments)
        self._now = end


class _Unsigned:
    """Signs nothing. ``number`` counts the certificates that the node had."""

    def __init__(self, name: str, number: int = 0) -> None:
        self.chain = (f"chain of {name}#{number}".encode(),)
        self._key = key_id(self.chain[0])

    def sign(self, ballot: Ballot) -> SignedBallot:
        return SignedBallot(encode_ballot(ballot), bytes(71), self._key)


class _Trusting:
    """Verifies nothing."""

    def __init__(self) -> None:
        self.chains: dict[bytes, tuple[bytes, ...]] = {}

    def chain_of(self, signed: SignedBallot) -> tuple[bytes, ...] | None:
        return self.chains.get(signed.key)

    def learn(self, chain: Sequence[bytes], now: int) -> str:
        self.chains[key_id(chain[0])] = tuple(chain)
        return chain[0].removeprefix(b"chain of ").partition(b"#")[0].decode()

    def check(self, signed: SignedBallot, now: int) -> Ballot:
        return decode_ballot(signed.body)


class _Pipe:
    """One end of a connection: writes arrive at the other end, in order, later."""

    def __init__(self, site: Site, sender: str, receiver: str) -> None:
        self.site = site
        self.sender = sender
        self.receiver = receiver
        self.other: _Pipe
        self.connection: Any = None
        self.gone = False
        self._next = 0.0

    def write(self, data: bytes) -> None:
        if self.gone:
            return
        site = self.site
        site.sent(self.sender, len(data) + OVERHEAD)
        if self.receiver:
            site.sent(self.receiver, 52)
        delay = site.delay(self.sender, self.receiver, 20.0)
        if delay is None:
            site.clock.callLater(20.0, self.close)
            return
        self._next = max(self._next, site.clock.seconds() + delay)
        site.clock.callLater(self._next - site.clock.seconds(), self._arrive, data)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Everybody reads."""

    def _arrive(self, data: bytes) -> None:
        if not self.other.gone and self.other.connection is not None:
            self.other.connection.dataReceived(data)

    def abortConnection(self) -> None:
        self.close()

    def close(self) -> None:
        for end in (self, self.other):
            if not end.gone:
                end.gone = True
                self.site.clock.callLater(0, self._lost, end.connection)

    def _lost(self, connection: Any) -> None:
        if connection is not None:
            connection.connectionLost()


class SimulatedNode:
    """A node with the edge's half of edge health."""

    def __init__(self, site: Site, name: str, period: float, skew: float = 0.0) -> None:
        self.site = site
        self.name = name
        self.alive = True
        self.cloud = True
        self.side = 0
        """Nodes of different sides do not reach each other."""
        self.pipe: _Pipe | None = None
        timing = site.timing
        clock = ReferenceClock(lambda: EPOCH + site.clock.seconds() + skew, site.clock.seconds)
        self.reference = clock
        self.voter = Voter(name, cast(Signer, _Unsigned(name)), clock, timing, 100)
        self.exchange = Exchange(
            site.clock, self.voter, clock, cast(Verifier, _Trusting()), timing, self._joined
        )
        self.exchange.dialler = self
        self.prober = Prober(site.clock, self.voter, self._check, self.exchange.changed, period, site.random)

    def start(self) -> None:
        self.exchange.startService()
        self.prober.startService()

    def die(self) -> None:
        self.alive = False
        self.prober.stopService()
        self.exchange._renewing.stop()
        self.exchange._tending.stop()

    def _joined(self, unit: Unit) -> None:
        if unit != self.voter.unit:
            self.join(unit)

    def join(self, unit: Unit) -> None:
        self.prober.probe(self.voter.join(unit))
        self.exchange.rejoin()

    async def _check(self, member: Member, multiplier: float) -> int:
        site = self.site
        limit = TIMEOUT * multiplier
        site.probes += 1
        site.sent(self.name, PROBE[0])
        out = site.delay(self.name, member.name, limit)
        back = site.delay(member.name, self.name, limit)
        done: Deferred[int] = Deferred()
        if out is None or back is None or out + back > limit:
            site.clock.callLater(limit, done.callback, 0)
        else:
            site.sent(member.name, PROBE[1])
            site.clock.callLater(out + back, done.callback, 100)
        return await done

    def dial(self, member: Member, failed: Callable[[str], None]) -> None:
        """As `superedge.health.edge.exchange.Dialler` says."""
        site, peer = self.site, self.site.nodes.get(member.name)
        delay = site.delay(self.name, member.name, 5.0)
        if peer is None or delay is None:
            site.clock.callLater(5.0, failed, "no answer")
            return

        def connected() -> None:
            if not peer.alive or not self.alive or not peer.exchange.admits(self.name):
                failed("refused")
                return
            here, there = site.pipe(self.name, peer.name)
            for end, node, other in ((there, peer, self), (here, self, peer)):
                end.connection = node.exchange.link()
                node.exchange.up(end.connection, other.name)
            for end in (there, here):
                end.connection.makeConnection(end)

        site.clock.callLater(3 * delay, connected)


class Seen(NamedTuple):
    """A verdict that changed, at ``at`` seconds."""

    at: float
    node: str
    verdict: Verdict


class Site:
    """Nodes of one unit and the cloud that judges them."""

    def __init__(
        self,
        names: Sequence[str],
        loss: float = 0.0,
        seed: int = 1,
        timing: Timing = TIMING,
        skew: float = 0.0,
    ) -> None:
        self.clock = Time()
        self.timing = timing
        self.loss = loss
        self.random = Random(seed)
        self.bytes: dict[str, int] = {}
        self.messages = 0
        self.probes = 0
        self.seen: list[Seen] = []
        self.leases: dict[str, float] = {}
        self.apart: list[set[str]] = []
        """Pairs of nodes that do not reach each other."""
        self.nodes = {name: SimulatedNode(self, name, timing.period, skew) for name in names}
        self._begin_judging(0.0)
        unit = self.judge.unit(names[0])
        for node in self.nodes.values():
            node.join(unit)
        self.clock.callLater(0, self._renew)

    def _begin_judging(self, skew: float) -> None:
        """With a clock that is so many seconds ahead."""
        self.judge = Judge(
            self.clock,
            cast(Verifier, _Trusting()),
            Settings(timing=self.timing),
            self._changed,
            self._ask,
            lambda unit: None,
            lambda: EPOCH + self.clock.seconds() + skew,
        )
        self.judge.scope_changed(Scope("", None))
        for name in self.nodes:
            self.judge.node_changed(name, facts(name))
        self.judge.start()

    def start(self) -> None:
        """All at once, with sessions where the cloud is reached."""
        for node in self.nodes.values():
            node.start()
            if node.cloud:
                self.connect(node)

    def run(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def verdict(self, name: str) -> Verdict:
        assessment = self.judge.assessment(name)
        assert assessment is not None
        return assessment.verdict

    # -- the network

    def sent(self, sender: str, size: int) -> None:
        self.messages += 1
        self.bytes[sender] = self.bytes.get(sender, 0) + size

    def reaches(self, one: str, other: str) -> bool:
        """Whether anything gets from a node to another, or to the cloud, which is ""."""
        ends = [self.nodes[name] for name in (one, other) if name]
        if not all(node.alive for node in ends):
            return False
        if not one or not other:
            return ends[0].cloud
        if {one, other} in self.apart:
            return False
        return ends[0].side == ends[1].side

    def delay(self, one: str, other: str, limit: float) -> float | None:
        """Seconds that a segment takes, sent again as often as it is lost; None if it does not arrive."""
        if not self.reaches(one, other):
            return None
        delay, timeout = LATENCY, FIRST_RETRANSMISSION
        while self.random.random() < self.loss:
            delay += timeout
            timeout *= 2
            if delay > limit:
                return None
        return delay

    def pipe(self, one: str, other: str) -> tuple[_Pipe, _Pipe]:
        here, there = _Pipe(self, one, other), _Pipe(self, other, one)
        here.other, there.other = there, here
        return here, there

    # -- the cloud

    def connect(self, node: SimulatedNode) -> None:
        """A session and the stream over it."""
        node.cloud = True
        here, there = self.pipe("", node.name)
        node.pipe = there
        here.connection = HealthProtocol(
            self.clock,
            lambda connection: Hello(self.judge.now(), True, 0, self.judge.box.last(node.name)),
            self._heard,
            lambda *_: None,
        )
        there.connection = node.exchange.uplink()
        there.connection.makeConnection(there)
        here.connection.makeConnection(here)
        self._sessions()

    def replace_judge(self, skew: float) -> None:
        """Another replica judges; it opens streams to all nodes with a session."""
        self.judge.stop()
        self._begin_judging(skew)
        for node in self.nodes.values():
            if node.pipe is not None:
                node.pipe.close()
                self.connect(node)

    def cut(self, node: SimulatedNode, noticed: float = 0.0) -> None:
        """The node loses the cloud; the session ends ``noticed`` seconds later."""
        node.cloud = False
        pipe, node.pipe = node.pipe, None

        def end() -> None:
            if pipe is not None:
                pipe.close()
            self._sessions()

        self.clock.callLater(noticed, end)

    def _sessions(self) -> None:
        self.judge.sessions_changed({name: 1 for name, node in self.nodes.items() if node.pipe is not None})

    def _heard(self, connection: HealthProtocol, message: Message) -> None:
        if isinstance(message, Ballots):
            for signed in message.ballots:
                try:
                    self.judge.ballot(signed)
                except Refused:
                    continue
        else:
            assert isinstance(message, Chain | Hello) or message is not None

    def _renew(self) -> None:
        for name, node in self.nodes.items():
            if node.alive and node.cloud:
                self.judge.lease_changed(name, NodeLease(str(self.clock.seconds()), 40))
        self.clock.callLater(10.0, self._renew)

    def _ask(self, name: str) -> None:
        node = self.nodes[name]
        self.clock.callLater(3.0, lambda: self.judge.answered(name, node.alive and node.cloud))

    def _changed(self, name: str) -> None:
        assessment = self.judge.assessment(name)
        if assessment is not None and (not self.last(name) or self.last(name) is not assessment.verdict):
            self.seen.append(Seen(self.clock.seconds(), name, assessment.verdict))

    def last(self, name: str) -> Verdict | None:
        return next((seen.verdict for seen in reversed(self.seen) if seen.node == name), None)


def facts(name: str, **other: Any) -> NodeFacts:
    """A Node that is ready."""
    fields: dict[str, Any] = {
        "name": name, "uid": "", "version": "1", "labels": {}, "host": name, "kubelet": 10250,
        "ready": "True", "ready_since": 0.0, "keep_unknown": None, "taints": (), "marked": False,
        "published": None,
    }  # fmt: skip
    return NodeFacts(**{**fields, **other})
