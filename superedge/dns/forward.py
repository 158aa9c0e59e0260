"""Questions for other servers: UDP first, TCP when the answer was cut, the next server when there is none."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any, cast

from dnslib import DNSRecord
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.config.addresses import TCPAddress
from superedge.dns import metrics
from superedge.dns.messages import answers, is_truncated
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
_SERVFAIL = 2

_log = Logger()


class ForwardError(SuperEdgeError):
    """No upstream server answered."""


class _Datagram(DatagramProtocol):
    """One question, from a source port of its own; the socket is connected, so that nobody else answers."""

    def __init__(self, server: TCPAddress, query: bytes) -> None:
        self._server = server
        self._query = query
        self.done: Deferred[bytes] = Deferred()

    def startProtocol(self) -> None:
        transport: Any = self.transport
        transport.connect(self._server.host, self._server.port)
        transport.write(self._query)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if not self.done.called and answers(datagram, self._query):
            self.done.callback(datagram)

    def connectionRefused(self) -> None:
        if not self.done.called:
            self.done.errback(Failure(ForwardError(f"{self._server} refuses")))


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
    """Asks ``upstreams`` in turn; one that did not answer comes last until it has answered a probe."""

    def __init__(self, reactor: IReactor, upstreams: Sequence[TCPAddress], timeout: float) -> None:
        self._reactor = reactor
        self._servers = Servers(upstreams, round_robin=False, penalty=inf)
        self._timeout = timeout
        self._probes: dict[TCPAddress, Loop] = {}
        self._stopped = False

    def stop(self) -> None:
        """Probe no more, also for questions that are under way."""
        self._stopped = True
        while self._probes:
            self._probes.popitem()[1].stop()

    async def ask(self, query: bytes) -> bytes:
        """The first good answer to a packed question, under the question's own id. Raises ForwardError."""
        problem: Exception = ForwardError("no upstream server is configured")
        last = b""
        for server in self._servers.order(self._reactor.seconds()):
            # The id upstream is ours: a client must not choose what a forger has to guess.
            asked = secrets.token_bytes(2) + query[2:]
            try:
                answer = await self._within(self._exchange(server, asked))
            except (ForwardError, ConnectError) as refused:
                self._failed(server, refused)
                metrics.UPSTREAM_FAILURES.labels(str(server)).inc()
                problem = refused
                continue
            self._answered(server)
            last = query[:2] + answer[2:]
            if answer[3] & 0x0F != _SERVFAIL:
                return last
        if last:
            return last  # every server that answered said SERVFAIL
        raise ForwardError(str(problem)) from problem

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
        protocol = _Datagram(server, query)
        interface = "::" if ":" in server.host else ""
        try:
            port = self._reactor.listenUDP(0, protocol, interface, MAX_PACKET)
        except (OSError, CannotListenError) as problem:  # no descriptors, or no IPv6
            raise ForwardError(f"no socket for a question to {server}: {problem}") from problem
        try:
            answer = await protocol.done
        finally:
            port.stopListening()
        return await self._by_stream(server, query) if is_truncated(answer) else answer

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
