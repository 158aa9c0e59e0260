"""The judging replica's streams to nodes: it receives ballots, and sends units, the time and pings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from superedge.errors import SuperEdgeError
from superedge.health import metrics
from superedge.health.cloud.judge import Judge
from superedge.health.protocol import HealthProtocol
from superedge.health.votes.ballot import Refused, SignedBallot
from superedge.health.votes.messages import (
    KIND,
    Ballots,
    Chain,
    Change,
    Hello,
    Message,
    Ping,
    Unit,
    difference,
)
from superedge.health.votes.signing import Verifier
from superedge.net.bucket import Bucket
from superedge.reactor.backoff import Backoff
from superedge.reactor.periodic import PeriodicCall
from superedge.reactor.task import in_background

OPEN_TIMEOUT = 10.0
AT_ONCE = 64
"""Maximum number of streams being opened at the same time."""
GATHER = 0.2
"""Seconds in which several changes of sessions and units are handled together."""
ANSWER = 3.0
"""Seconds in which a node must answer a ping."""
ASK_AGAIN = 5.0
TELL = 5.0
"""Seconds between two changes that the members of a unit are told in the long run: each writes them to disk,
and one node can change its address or its port again and again."""
CHANGES = 5
"""Changes that they are told without a wait after a pause."""
LATE = ("replayed", "expired")
"""Reasons that are not logged, only counted: a ballot takes two routes, and the second copy may be late."""
TIME = 300.0
"""Seconds after which the time is sent to all nodes again."""

_log = Logger()


class NodeStreams(Service):
    """One stream to each node that has a session."""

    name = "health-streams"

    def __init__(self, reactor: IReactorTime, streams: Any, judge: Judge, verifier: Verifier) -> None:
        """``streams`` is an `INodeStreams`."""
        self._reactor = reactor
        self._streams = streams
        self._judge = judge
        self._verifier = verifier
        self._sessions: dict[str, int] = {}
        self._connections: dict[str, HealthProtocol] = {}
        self._nodes: dict[HealthProtocol, str] = {}
        self._opening: dict[str, Deferred[None]] = {}
        self._waiting: dict[str, None] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._retries: dict[str, IDelayedCall] = {}
        self._told: dict[str, Unit] = {}
        self._differences: dict[tuple[int, int], tuple[Unit, Unit, Message]] = {}
        """By identity; the units are in the values so that their identities stay theirs."""
        self._regrouped: set[str] = set()
        self._changes: dict[str, Bucket] = {}
        self._soon: IDelayedCall | None = None
        self._later: IDelayedCall | None = None
        self._numbers: Iterator[int] = count(1)
        self._asked: dict[str, tuple[int, float, IDelayedCall]] = {}
        self._telling = PeriodicCall(reactor, TIME, self._tell_time)

    def startService(self) -> None:
        """Open streams."""
        super().startService()
        self._telling.start()
        self.look()

    def stopService(self) -> None:
        """End them."""
        super().stopService()
        self._telling.stop()
        calls = [
            self._soon,
            self._later,
            *self._retries.values(),
            *(call for _, _, call in self._asked.values()),
        ]
        for call in calls:
            if call is not None and call.active():
                call.cancel()
        for opening in list(self._opening.values()):
            opening.cancel()
        for connection in list(self._nodes):
            connection.end("this replica no longer judges")
        metrics.STREAMS.set(0)

    def look(self) -> None:
        """Handle changes of sessions and units soon."""
        if self._soon is None and self.running:
            self._soon = self._reactor.callLater(GATHER, self._look)

    def reconnect(self) -> None:
        """Open every stream anew."""
        for connection in list(self._nodes):
            connection.end("CAs or denied certificates changed")

    def regrouped(self, unit: str) -> None:
        """Send a unit to its members after a change."""
        self._regrouped.add(unit)
        self.look()

    def _look(self) -> None:
        self._soon = None
        before, self._sessions = self._sessions, dict(self._streams.sessions())
        self._judge.sessions_changed(self._sessions)
        for node in [node for node in before if self._sessions.get(node) != before[node]]:
            self._forget(node)
        for node, session in self._sessions.items():
            if before.get(node) != session:
                self._want(node)
        self._tell_units()

    def _tell_units(self) -> None:
        """Send changed units to their members, but those of units that change too often only later."""
        now = self._reactor.seconds()
        for unit in [unit for unit, bucket in self._changes.items() if not bucket.delay(now, CHANGES)]:
            del self._changes[unit]
        waits = {
            unit: self._changes[unit].delay(now) if unit in self._changes else 0.0 for unit in self._regrouped
        }
        due = {unit for unit, wait in waits.items() if not wait}
        for unit in due:
            self._regrouped.discard(unit)
            self._changes.setdefault(unit, Bucket(1 / TELL, CHANGES, now)).consume(1, now)
        if due:
            for node, connection in self._connections.items():
                told = self._told.get(node)
                if self._judge.unit(node).name in due or (told is not None and told.name in due):
                    self._tell_unit(node, connection)
            self._differences.clear()
        if self._regrouped and self._later is None:
            wait = min(waits[unit] for unit in self._regrouped)
            self._later = self._reactor.callLater(wait, self._tell_rest)

    def _tell_rest(self) -> None:
        self._later = None
        self._tell_units()

    def _want(self, node: str) -> None:
        if (retry := self._retries.pop(node, None)) is not None and retry.active():
            retry.cancel()
        self._waiting[node] = None
        self._open_next()

    def _open_next(self) -> None:
        while self._waiting and len(self._opening) < AT_ONCE and self.running:
            node = next(iter(self._waiting))
            del self._waiting[node]
            if node in self._connections or node not in self._sessions:
                continue
            placeholder: Deferred[None] = Deferred()
            self._opening[node] = placeholder
            running = in_background(
                self._open(node, self._sessions[node]), _log, "the stream to {node} failed", node=node
            )
            if self._opening.get(node) is placeholder:
                self._opening[node] = running
            running.addCallback(self._opened, node)

    def _opened(self, _: None, node: str) -> None:
        self._opening.pop(node, None)
        if node not in self._connections and node not in self._waiting:
            self._again(node)
        self._open_next()

    async def _open(self, node: str, session: int) -> None:
        try:
            stream = await self._streams.open(node, KIND, OPEN_TIMEOUT)
        except SuperEdgeError as problem:
            _log.debug("no stream to {node}: {problem}", node=node, problem=problem)
            return
        if self._sessions.get(node) != session or not self.running:
            stream.abortConnection()
            return
        connection = HealthProtocol(self._reactor, partial(self._hello, node), self._received, self._ended)
        self._connections[node] = connection
        self._nodes[connection] = node
        metrics.STREAMS.set(len(self._connections))
        stream.connect(connection)

    def _hello(self, node: str, connection: HealthProtocol) -> Hello:
        return Hello(self._judge.now(), True, 0, self._judge.box.last(node))

    def _again(self, node: str) -> None:
        """Retry with backoff: it may be a node without edge health."""
        if self.running and node in self._sessions and node not in self._retries:
            backoff = self._backoffs.setdefault(node, Backoff(1.0, 60.0, stable=30.0))
            delay = backoff.failed(self._reactor.seconds())
            self._retries[node] = self._reactor.callLater(delay, self._retry, node)

    def _retry(self, node: str) -> None:
        del self._retries[node]
        self._want(node)

    def _forget(self, node: str) -> None:
        """A node's session ended, or is another."""
        if (connection := self._connections.get(node)) is not None:
            connection.end("its session is another")
        self._backoffs.pop(node, None)
        asked = self._asked.pop(node, None)
        if asked is not None and asked[2].active():
            asked[2].cancel()

    def _ended(self, connection: HealthProtocol, reason: str) -> None:
        node = self._nodes.pop(connection, None)
        if node is None or self._connections.get(node) is not connection:
            return
        del self._connections[node]
        self._told.pop(node, None)
        metrics.STREAMS.set(len(self._connections))
        _log.debug("the stream to {node} ended: {reason}", node=node, reason=reason)
        self._again(node)

    # -- messages

    def _received(self, connection: HealthProtocol, message: Message) -> None:
        node = self._nodes.get(connection)
        if node is None:
            return
        self._alive(node)
        try:
            if isinstance(message, Hello):
                if (backoff := self._backoffs.get(node)) is not None:
                    backoff.connected(self._reactor.seconds())
                self._judge.listens(node, message.port)
                self._tell_unit(node, connection)
            elif isinstance(message, Chain):
                self._verifier.learn(message.certificates, self._judge.now())
            elif isinstance(message, Ballots):
                for signed in message.ballots:
                    self._ballot(node, signed)
        except Refused as problem:
            metrics.BALLOTS_REFUSED.labels("cloud", problem.reason).inc()
            _refused(node, problem)
        if isinstance(message, Unit | Change | Ping):
            connection.end("nodes may not send this kind of message")

    def _ballot(self, node: str, signed: SignedBallot) -> None:
        try:
            self._judge.ballot(signed)
        except Refused as problem:
            if problem.reason not in LATE:
                _refused(node, problem)

    def _tell_unit(self, node: str, connection: HealthProtocol) -> None:
        unit, told = self._judge.unit(node), self._told.get(node)
        if connection.heard is not None and told != unit:
            self._told[node] = unit
            connection.send(unit if told is None else self._difference(told, unit))

    def _difference(self, before: Unit, after: Unit) -> Message:
        """Most members have the same before and after: the difference is computed once for all of them."""
        key = (id(before), id(after))
        if key not in self._differences:
            self._differences[key] = before, after, difference(before, after)
        return self._differences[key][2]

    def _tell_time(self) -> None:
        now = self._judge.now()
        for connection in self._connections.values():
            connection.send(Ping(next(self._numbers), now))

    # -- pings

    def ask(self, node: str) -> None:
        """Ping a node, and report to the judge whether it answers."""
        connection = self._connections.get(node)
        asked = self._asked.get(node)
        now = self._reactor.seconds()
        if connection is None or (asked is not None and now - asked[1] < ASK_AGAIN):
            return
        number = next(self._numbers)
        connection.send(Ping(number, self._judge.now()))
        self._asked[node] = number, now, self._reactor.callLater(ANSWER, self._silent, node)

    def _silent(self, node: str) -> None:
        _log.info("{node} does not answer over its session", node=node)
        self._judge.answered(node, False)

    def _alive(self, node: str) -> None:
        asked = self._asked.get(node)
        if asked is not None and asked[2].active():
            asked[2].cancel()
        self._judge.answered(node, True)


def _refused(node: str, problem: Refused) -> None:
    _log.info("refused what {node} sent: {problem}", node=node, problem=problem)
