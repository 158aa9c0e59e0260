"""Questions for other servers: UDP first, TCP when the answer was cut, the next server when there is none."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from random import Random
from typing import Any, Literal, cast

from dnslib import DNSRecord
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.dns import metrics
from superedge.dns.messages import answers, is_truncated
from superedge.dns.wire import FORMERR, NOTIMP, REFUSED, SERVFAIL
from superedge.errors import SuperEdgeError
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint
from superedge.net.errors import ConnectError
from superedge.net.factory import CallableFactory
from superedge.net.servers import Servers
from superedge.reactor.loops import Loop

MAX_PACKET = 65535
PROBE_INTERVAL = 1.0
"""Seconds after which a server that did not answer is tried again."""
IMPATIENCE = 0.5
"""Seconds after which the next server is asked as well."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN})
_UNWILLING = frozenset({FORMERR, SERVFAIL, NOTIMP, REFUSED})
"""RCODEs that say something about the server, not about the name."""

Policy = Literal["sequential", "random", "round-robin"]

_log = Logger()


class ForwardError(SuperEdgeError):
    """No upstream server answered."""


class NoSocket(ForwardError):
    """This process or this machine has none left: no server's fault."""


@implementer(IReadDescriptor)
class _Datagram:
    """One question, from a source port of its own; the socket is connected, so that nobody else answers."""

    def __init__(
        self, reactor: IReactor, server: TCPAddress, query: bytes, done: Callable[[bytes | Exception], None]
    ) -> None:
        """``done`` is given the answer or ForwardError. Raises ForwardError."""
        self._reactor = reactor
        self._server = server
        self._query = query
        self._done = done
        try:
            self._socket = _connected(server)
        except OSError as problem:
            kind = NoSocket if problem.errno in _EXHAUSTED else ForwardError
            raise kind(f"no socket for a question to {server}: {problem.strerror}") from problem
        self.fileno = self._socket.fileno
        try:
            self._socket.send(query)
        except OSError as problem:
            self._socket.close()
            raise ForwardError(f"cannot send to {server}: {problem.strerror}") from problem
        reactor.addReader(self)

    def doRead(self) -> None:
        """Take the answer; what is none is passed over."""
        while True:
            try:
                data = self._socket.recv(MAX_PACKET)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as problem:
                self.close()
                self._done(ForwardError(f"{self._server} refuses: {problem.strerror}"))
                return
            if answers(data, self._query):
                self.close()
                self._done(data)
                return

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops."""
        self.close()

    def logPrefix(self) -> str:
        """For the reactor's log."""
        return "dns"

    def close(self) -> None:
        """Wait no more."""
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()


def _connected(server: TCPAddress) -> socket.socket:
    """A UDP socket whose port the kernel chose at random. Raises OSError."""
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect((server.host, server.port))
    except OSError:
        sock.close()
        raise
    return sock


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
        self._reactor = reactor
        self._servers = Servers(upstreams, round_robin=policy == "round-robin", penalty=inf)
        self._random = Random() if policy == "random" else None
        self._timeout = timeout
        self._probes: dict[TCPAddress, Loop] = {}
        self._asking: dict[bytes, _Asking] = {}
        self._stopped = False
        self.upstreams = upstreams

    @property
    def working(self) -> bool:
        """Whether any server answered when it was last asked."""
        return len(self._probes) < len(self.upstreams)

    def healthy(self, server: TCPAddress) -> bool:
        """Whether the server answered when it was last asked."""
        return server not in self._probes

    def stop(self) -> None:
        """Probe no more; questions that are under way fail."""
        self._stopped = True
        for asking in list(self._asking.values()):
            asking.finish(ForwardError("the server stops"))
        while self._probes:
            self._probes.popitem()[1].stop()

    async def ask(self, query: bytes) -> bytes:
        """The first good answer to a packed question, under the question's own id. Raises ForwardError."""
        question = query[2:]
        asking = self._asking.get(question)
        if asking is None:
            asking = self._asking[question] = _Asking(self, question)
            asking.begin()
        waiter: Deferred[bytes] = Deferred()
        asking.join(waiter)
        return query[:2] + (await waiter)[2:]

    def _order(self) -> list[TCPAddress]:
        servers = self._servers.order(self._reactor.seconds())
        if self._random is not None:
            self._random.shuffle(servers)
            servers.sort(key=self._probes.__contains__)
        return servers

    def _failed(self, server: TCPAddress, problem: Exception) -> None:
        if server not in self._probes and not self._stopped:
            _log.warn("DNS server {server} failed: {problem}", server=str(server), problem=problem)
            self._servers.failed(server, self._reactor.seconds())
            probe = Loop(self._reactor, f"probing DNS server {server}", partial(self._probe, server))
            self._probes[server] = probe
            probe.start()

    def _answered(self, server: TCPAddress) -> None:
        probe = self._probes.pop(server, None)
        if probe is not None:
            probe.stop()
            self._recovered(server)

    def _recovered(self, server: TCPAddress) -> None:
        self._servers.connected(server)
        _log.info("DNS server {server} answers again", server=str(server))

    async def _probe(self, server: TCPAddress) -> None:
        """Ask it again and again, beside everybody's questions, until it answers whatever it likes."""
        while True:
            await deferLater(self._reactor, PROBE_INTERVAL)
            query = secrets.token_bytes(2) + DNSRecord.question(".", "NS").pack()[2:]
            with contextlib.suppress(ForwardError, ConnectError):
                await self._within(self._exchange(server, query))
                del self._probes[server]
                self._recovered(server)
                return

    async def _exchange(self, server: TCPAddress, query: bytes) -> bytes:
        answered: Deferred[bytes] = Deferred(lambda _: datagram.close())

        def done(result: bytes | Exception) -> None:
            (answered.callback if isinstance(result, bytes) else answered.errback)(result)  # type: ignore[arg-type]

        datagram = _Datagram(self._reactor, server, query, done)
        return await answered

    async def _by_stream(self, server: TCPAddress, query: bytes) -> bytes:
        protocol = _Stream(query)

        endpoint = ClientEndpoint(self._reactor, server, timeout=self._timeout)
        await endpoint.connect(cast(Any, CallableFactory(lambda: protocol)))
        try:
            answer = await protocol.done
        finally:
            cast(Any, protocol.transport).abortConnection()
        if not answers(answer, query):
            raise ForwardError(f"{server} answered another question")
        return answer

    async def _within(self, exchange: Any) -> bytes:
        attempt: Deferred[bytes] = Deferred.fromCoroutine(exchange)
        attempt.addTimeout(self._timeout, self._reactor)
        try:
            return await attempt
        except TimeoutError as problem:
            raise ForwardError(f"no answer within {self._timeout:g} s") from problem


class _Asking:
    """One question under way, at one server or several, for everybody who asks it."""

    def __init__(self, forwarder: Forwarder, question: bytes) -> None:
        self._forwarder = forwarder
        self._reactor = forwarder._reactor
        self._question = question
        self._servers = forwarder._order()
        self._waiters: list[Deferred[bytes]] = []
        self._result: bytes | Exception | None = None
        self._open: dict[TCPAddress, tuple[IDelayedCall, Callable[[], object]]] = {}
        self._impatience: IDelayedCall | None = None
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
        while self._servers and self._result is None:
            server = self._servers.pop(0)
            # The id upstream is ours: a client must not choose what a forger has to guess.
            query = secrets.token_bytes(2) + self._question
            try:
                datagram = _Datagram(self._reactor, server, query, partial(self._datagram, server, query))
            except NoSocket as problem:
                self._last = problem
                continue
            except ForwardError as problem:
                self._refused(server, problem)
                continue
            timeout = self._forwarder._timeout
            late = ForwardError(f"no answer within {timeout:g} s")
            call = self._reactor.callLater(timeout, self._failed, server, late)
            self._open[server] = (call, datagram.close)
            if self._servers:
                self._impatience = self._reactor.callLater(min(IMPATIENCE, timeout), self.begin)
            return
        if not self._open and self._result is None:
            self.finish(self._last)

    def _datagram(self, server: TCPAddress, query: bytes, result: bytes | Exception) -> None:
        if not isinstance(result, bytes):
            self._failed(server, result)
        elif is_truncated(result):
            stream: Deferred[bytes] = Deferred.fromCoroutine(self._forwarder._by_stream(server, query))
            self._open[server] = (self._open[server][0], stream.cancel)
            stream.addCallbacks(
                partial(self._answered, server), lambda failure: self._cut(server, result, failure.value)
            )
        else:
            self._answered(server, result)

    def _cut(self, server: TCPAddress, cut: bytes, problem: Exception) -> None:
        """There is more over TCP, which the server does not offer: better than nothing."""
        if server in self._open:
            self._last = cut
            self._failed(server, problem)

    def _answered(self, server: TCPAddress, answer: bytes) -> None:
        if server not in self._open:
            return
        self._close(server)
        self._forwarder._answered(server)
        if answer[3] & 0x0F in _UNWILLING:
            if not isinstance(self._last, bytes):
                self._last = answer
            self.begin()
            return
        # Whoever was asked before and is slower than all this is asked later from now on.
        for slow in list(self._open):
            self._forwarder._failed(slow, ForwardError(f"no answer within {IMPATIENCE:g} s"))
        self.finish(answer)

    def _failed(self, server: TCPAddress, problem: Exception) -> None:
        if server in self._open:
            self._close(server)
            self._refused(server, problem)
            self.begin()

    def _refused(self, server: TCPAddress, problem: Exception) -> None:
        self._forwarder._failed(server, problem)
        metrics.UPSTREAM_FAILURES.labels(str(server)).inc()
        if not isinstance(self._last, bytes):
            self._last = problem

    def _close(self, server: TCPAddress) -> None:
        call, close = self._open.pop(server)
        if call.active():
            call.cancel()
        close()

    def _calm(self) -> None:
        if self._impatience is not None and self._impatience.active():
            self._impatience.cancel()
        self._impatience = None

    def finish(self, result: bytes | Exception) -> None:
        """Everybody who asks is given this."""
        self._result = result
        self._calm()
        for server in list(self._open):
            self._close(server)
        self._forwarder._asking.pop(self._question, None)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:
                self.join(waiter)
