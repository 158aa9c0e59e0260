"""Questions for other servers: UDP first, TCP when the answer was cut, the next server when there is none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any, Literal, cast

from dnslib import RCODE, DNSRecord
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.config.addresses import TCPAddress
from superedge.dns import metrics
from superedge.dns.messages import UNWILLING, answers, is_truncated, question_section
from superedge.dns.ports import ForwardError, NoSocket, SourcePorts
from superedge.interfaces import IReactor
from superedge.metrics import HistogramSeries
from superedge.net.endpoints import ClientEndpoint
from superedge.net.errors import ConnectError
from superedge.net.factory import CallableFactory
from superedge.reactor.deadlines import Deadline, Deadlines
from superedge.reactor.loops import Loop
from superedge.reactor.task import in_background

PROBE_INTERVAL = 1.0
"""Seconds after which a server that did not answer is tried again."""
PROBE = bytes(DNSRecord.question(".", "NS").pack()[2:])
IMPATIENCE = 0.5
"""Seconds after which the next server is asked as well."""

Policy = Literal["sequential", "random", "round-robin"]

_log = Logger()


class _Stream(Protocol):
    """One question over TCP (RFC 7766)."""

    def __init__(self, query: bytes) -> None:
        self._query = query
        self._received = bytearray()
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        cast(Any, self.transport).write(len(self._query).to_bytes(2, "big") + self._query)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        size = int.from_bytes(self._received[:2], "big")
        if len(self._received) >= 2 + size and not self.done.called:
            self.done.callback(bytes(self._received[2 : 2 + size]))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.errback(Failure(ForwardError("the connection ended before the answer")))


class _Upstream:
    """One server."""

    def __init__(self, reactor: IReactor, address: TCPAddress, deadlines: Deadlines) -> None:
        self.address = address
        self.ports = SourcePorts(reactor, address, deadlines)
        self.probe: Loop | None = None
        """Runs from a question that it did not answer to one that it did."""
        self._durations: dict[int, HistogramSeries] = {}

    @property
    def failed(self) -> bool:
        """Whether it did not answer when it was last asked."""
        return self.probe is not None

    def observe(self, code: int, seconds: float) -> None:
        """It answered with an RCODE after so many seconds."""
        series = self._durations.get(code)
        if series is None:
            name = RCODE.forward.get(code, str(code))
            series = metrics.UPSTREAM_DURATION.labels(metrics.PROXY, str(self.address), name)
            self._durations[code] = series
        series.observe(seconds)

    def stop(self) -> None:
        """Probe it no more."""
        if self.probe is not None:
            self.probe.stop()
            self.probe = None


class Forwarder:
    """Asks ``upstreams`` in turn; one that did not answer comes last until it has answered a probe.

    While one has not answered for `IMPATIENCE` seconds, the next is asked beside it. Identical questions
    that are under way share one answer.
    """

    def __init__(
        self,
        reactor: IReactor,
        upstreams: Sequence[TCPAddress],
        timeout: float,
        policy: Policy = "sequential",
    ) -> None:
        self.reactor = reactor
        self.deadlines = Deadlines(reactor)
        self._upstreams: list[_Upstream] = []
        self.set_upstreams(upstreams)
        self._policy = policy
        self._first = 0
        self._random = Random()
        self.timeout = timeout
        self.asking: dict[bytes, _Asking] = {}
        self._stopped = False

    def set_upstreams(self, addresses: Sequence[TCPAddress]) -> None:
        """Ask these from now on; questions that are under way at others may still be answered."""
        known = {upstream.address: upstream for upstream in self._upstreams}
        self._upstreams = [
            known.pop(address) if address in known else _Upstream(self.reactor, address, self.deadlines)
            for address in addresses
        ]
        for upstream in known.values():
            upstream.stop()
            upstream.ports.renew()

    def health(self) -> list[tuple[TCPAddress, bool]]:
        """For each server whether it answered when it was last asked."""
        return [(upstream.address, not upstream.failed) for upstream in self._upstreams]

    def stop(self) -> None:
        """Probe no more; questions that are under way fail."""
        self._stopped = True
        for asking in list(self.asking.values()):
            asking.finish(ForwardError("the server stops"))
        for upstream in self._upstreams:
            upstream.stop()
            upstream.ports.close()
        self.deadlines.stop()

    def ask(self, question: bytes) -> Deferred[bytes]:
        """The first good answer to a packed question, which is given without its id; or ForwardError.

        The answer has an id of its own. Raises ValueError for what is no question.
        """
        asking = self.asking.get(question)
        if asking is None:
            asking = self.asking[question] = _Asking(self, question)
            asking.begin()
        waiter: Deferred[bytes] = Deferred()
        asking.join(waiter)
        return waiter

    def order(self) -> list[_Upstream]:
        """The servers in the order in which they are asked."""
        servers = self._upstreams
        if len(servers) < 2:
            return servers
        if self._policy == "round-robin":
            self._first = (self._first + 1) % len(servers)
            servers = servers[self._first :] + servers[: self._first]
        elif self._policy == "random":
            servers = self._random.sample(servers, len(servers))
        return sorted(servers, key=_has_failed)

    def failed(self, upstream: _Upstream, problem: Exception) -> None:
        """A server did not answer, or not in time."""
        metrics.UPSTREAM_FAILURES.labels(str(upstream.address)).inc()
        upstream.ports.renew()
        if upstream.probe is None and not self._stopped and upstream in self._upstreams:
            _log.warn("DNS server {server} failed: {problem}", server=str(upstream.address), problem=problem)
            probe = partial(self._probe, upstream)
            upstream.probe = Loop(self.reactor, f"probing DNS server {upstream.address}", probe)
            upstream.probe.start()

    def answered(self, upstream: _Upstream) -> None:
        """A server answered."""
        if upstream.probe is not None:
            upstream.probe.stop()
            self._recovered(upstream)

    def _recovered(self, upstream: _Upstream) -> None:
        upstream.probe = None
        _log.info("DNS server {server} answers again", server=str(upstream.address))

    async def _probe(self, upstream: _Upstream) -> None:
        """Ask it again and again, beside everybody's questions, until it answers whatever it likes."""
        while True:
            await deferLater(self.reactor, PROBE_INTERVAL)
            answered: Deferred[bytes] = Deferred(lambda _: None)
            try:
                sent = upstream.ports.send(PROBE, question_section(PROBE), partial(_fire, answered))
                try:
                    await answered.addTimeout(self.timeout, self.reactor)
                finally:
                    upstream.ports.forget(sent)
            except (ForwardError, TimeoutError):
                metrics.PROBE_FAILURES.labels(metrics.PROXY, str(upstream.address)).inc()
            else:
                self._recovered(upstream)
                return


def _has_failed(upstream: _Upstream) -> bool:
    return upstream.failed


def _fire(waiter: Deferred[bytes], result: bytes | Exception) -> None:
    if isinstance(result, bytes):
        waiter.callback(result)
    else:
        waiter.errback(Failure(result))


class _Attempt:
    """A question at one server."""

    __slots__ = ("_asking", "_begun", "_cut", "_deadline", "_sent", "_stream", "upstream")

    def __init__(self, asking: _Asking, upstream: _Upstream) -> None:
        """Raises ForwardError."""
        self._asking = asking
        self.upstream = upstream
        self._stream: Deferred[None] | None = None
        self._cut: bytes | None = None
        """The answer over UDP, while the rest of it is asked for over TCP."""
        self._sent = upstream.ports.send(asking.question, asking.section, self._heard)
        self._begun = asking.forwarder.reactor.seconds()
        self._deadline = asking.forwarder.deadlines.start(asking.forwarder.timeout, self._late)

    def close(self) -> None:
        """Wait no more."""
        self._deadline.cancel()
        self.upstream.ports.forget(self._sent)
        if self._stream is not None:
            self._stream.cancel()

    def _late(self) -> None:
        problem = ForwardError(f"no answer within {self._asking.forwarder.timeout:g} s")
        self._asking.failed(self, problem, self._cut)

    def _heard(self, result: bytes | Exception) -> None:
        if not isinstance(result, bytes):
            self._asking.failed(self, result)
        elif is_truncated(result):
            self._cut = result
            self._stream = in_background(self._by_stream(result), _log, "a question over TCP failed")
        else:
            self._answered(result)

    def _answered(self, answer: bytes) -> None:
        self.upstream.observe(answer[3] & 0x0F, self._asking.forwarder.reactor.seconds() - self._begun)
        self._asking.answered(self, answer)

    async def _by_stream(self, cut: bytes) -> None:
        """Ask again over TCP."""
        asking, server = self._asking, self.upstream.address
        forwarder = asking.forwarder
        query = cut[:2] + asking.question
        protocol = _Stream(query)
        endpoint = ClientEndpoint(forwarder.reactor, server, timeout=forwarder.timeout)
        try:
            await endpoint.connect(cast(Any, CallableFactory(lambda: protocol)))
            try:
                answer = await protocol.done
            finally:
                cast(Any, protocol.transport).abortConnection()
            if answer[:2] != query[:2] or not answers(answer, asking.section):
                raise ForwardError(f"{server} answered another question")
        except (ForwardError, ConnectError) as problem:
            self._stream = None
            # There is more over TCP, which the server does not offer: better than nothing.
            asking.failed(self, problem, cut)
        else:
            self._stream = None
            self._answered(answer)


class _Asking:
    """One question under way, at one server or several, for everybody who asks it."""

    __slots__ = (
        "_impatience",
        "_last",
        "_next",
        "_open",
        "_result",
        "_servers",
        "_waiters",
        "forwarder",
        "question",
        "section",
    )

    def __init__(self, forwarder: Forwarder, question: bytes) -> None:
        self.question = question
        self.section = question_section(question)
        self.forwarder = forwarder
        self._servers = forwarder.order()
        if self._servers and self._servers[0].failed:
            metrics.FORWARD_BROKEN.inc()
        self._next = 0
        self._waiters: list[Deferred[bytes]] = []
        self._result: bytes | Exception | None = None
        self._open: list[_Attempt] = []
        self._impatience: Deadline | None = None
        self._last: bytes | Exception = ForwardError("no upstream server is configured")

    def join(self, waiter: Deferred[bytes]) -> None:
        """Give it the answer, or ForwardError."""
        if self._result is None:
            self._waiters.append(waiter)
        elif isinstance(self._result, bytes):
            waiter.callback(self._result)
        else:
            waiter.errback(Failure(ForwardError(str(self._result))))

    def begin(self) -> None:
        """Ask the next server; when there is none and none is under way, that was all."""
        self._calm()
        while self._next < len(self._servers) and self._result is None:
            upstream = self._servers[self._next]
            self._next += 1
            try:
                self._open.append(_Attempt(self, upstream))
            except NoSocket as problem:
                self._last = problem
                continue
            except ForwardError as problem:
                self._refused(upstream, problem)
                continue
            if self._next < len(self._servers):
                forwarder = self.forwarder
                self._impatience = forwarder.deadlines.start(min(IMPATIENCE, forwarder.timeout), self.begin)
            return
        if not self._open and self._result is None:
            self.finish(self._last)

    def answered(self, attempt: _Attempt, answer: bytes) -> None:
        """A server answered."""
        self._close(attempt)
        self.forwarder.answered(attempt.upstream)
        if answer[3] & 0x0F in UNWILLING:
            if not isinstance(self._last, bytes):
                self._last = answer
            self.begin()
            return
        # Whoever was asked before and is slower than all this is asked later from now on.
        for slow in self._open:
            self.forwarder.failed(slow.upstream, ForwardError(f"no answer within {IMPATIENCE:g} s"))
        self.finish(answer)

    def failed(self, attempt: _Attempt, problem: Exception, cut: bytes | None = None) -> None:
        """A server did not answer, or no more than the answer ``cut``."""
        if attempt in self._open:
            if cut is not None:
                self._last = cut
            self._close(attempt)
            self._refused(attempt.upstream, problem)
            self.begin()

    def _refused(self, upstream: _Upstream, problem: Exception) -> None:
        self.forwarder.failed(upstream, problem)
        if not isinstance(self._last, bytes):
            self._last = problem

    def _close(self, attempt: _Attempt) -> None:
        self._open.remove(attempt)
        attempt.close()

    def _calm(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def finish(self, result: bytes | Exception) -> None:
        """Everybody who asks is given this."""
        self._result = result
        self._calm()
        for attempt in self._open:
            attempt.close()
        self._open.clear()
        self.forwarder.asking.pop(self.question, None)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:
                self.join(waiter)
