"""The server: UDP and TCP, each question on its own."""

from __future__ import annotations

from typing import Any, cast

from dnslib import RCODE
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IPushProducer
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.logger import Logger
from zope.interface import implementer

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.dns import TunnelDNSConfig
from superedge.dns import metrics
from superedge.dns.forward import MAX_PACKET, Forwarder, ForwardError
from superedge.dns.messages import failure, format_error, pack, parse_query, udp_size
from superedge.dns.zone import Directory, NodeZone
from superedge.interfaces import IReactor
from superedge.net.endpoints import ServerEndpoint
from superedge.net.errors import ConnectError
from superedge.net.networks import Networks
from superedge.reactor.task import in_background

MAX_KNOWN = 8 * 1024 * 1024
"""Bytes of packed answers about nodes that are kept, with their questions; beyond, all are made anew."""
_OVERHEAD = 200
MAX_WAITING = 100
"""Questions of one TCP connection that are being answered; the next ones are not read yet."""
MAX_PENDING = 2000
"""Questions under way to upstream servers; more are SERVFAIL at once."""
IDLE = 30.0
"""Seconds that a TCP connection has for its next question, whole."""
MAX_STREAMS = 1000
"""TCP connections at once."""

_log = Logger()


class DNSServer(Service):
    """Node names from ``directory``, everything else from the upstream servers."""

    name = "tunnel-dns"

    def __init__(
        self, reactor: IReactor, config: TunnelDNSConfig, directory: Directory, cluster_domain: str = ""
    ) -> None:
        self._reactor = reactor
        self._listen = [cast(TCPAddress, parse_address(text, 53)) for text in config.listen]
        self.clients = Networks(config.allow)
        others = [cluster_domain, *config.upstream_zones]
        self._zone = NodeZone(directory, config.suffixes, config.ttl, config.unconnected, others)
        # By the whole question but its id, so that each asker's own spelling comes back.
        self._known: dict[tuple[bool, bytes], bytes] = {}
        self._known_size = 0
        directory.on_change(self._forget)
        self._node_queries = metrics.QUERIES.labels("node")
        upstreams = [cast(TCPAddress, parse_address(text, 53)) for text in config.upstreams]
        self._forwarder = Forwarder(reactor, upstreams, config.timeout) if upstreams else None
        self._pending = 0
        self.streams = 0
        """TCP connections."""
        self._ports: list[Any] = []

    @property
    def addresses(self) -> list[Any]:
        """Where it listens, TCP then UDP for each address."""
        return [port.getHost() for port in self._ports]

    def known(self, data: bytes, stream: bool) -> bytes | None:
        """The answer to a question about a node, if the same was asked before and nothing has changed."""
        rest = self._known.get((stream, data[2:]))
        if rest is None:
            return None
        self._node_queries.inc()
        return data[:2] + rest

    async def respond(self, data: bytes, stream: bool) -> bytes | None:
        """The answer to a packet; None for what gets none."""
        try:
            query = parse_query(data)
        except ValueError:
            metrics.QUERIES.labels("malformed").inc()
            return format_error(data)
        if query is None:
            return None
        limit = None if stream else udp_size(query)
        if query.header.opcode != 0:
            metrics.QUERIES.labels("refused").inc()
            return pack(failure(query, RCODE.NOTIMP), limit)
        answer = self._zone.answer(query)
        if answer is not None:
            self._node_queries.inc()
            packed = pack(answer, limit)
            self._keep(data, stream, packed)
            return packed
        if self._forwarder is None:
            metrics.QUERIES.labels("refused").inc()
            return pack(failure(query, RCODE.REFUSED), limit)
        return await self._forward(self._forwarder, data, query, limit)

    def _keep(self, data: bytes, stream: bool, packed: bytes) -> None:
        self._known_size += len(data) + len(packed) + _OVERHEAD
        if self._known_size > MAX_KNOWN:
            self._forget()
        else:
            self._known[stream, data[2:]] = packed[2:]

    def _forget(self) -> None:
        self._known.clear()
        self._known_size = 0

    async def _forward(self, forwarder: Forwarder, data: bytes, query: Any, limit: int | None) -> bytes:
        if self._pending >= MAX_PENDING:
            metrics.QUERIES.labels("overload").inc()
            return pack(failure(query, RCODE.SERVFAIL), limit)
        self._pending += 1
        try:
            answer = await forwarder.ask(data)
        except ForwardError as problem:
            _log.debug("{name} is SERVFAIL: {problem}", name=str(query.q.qname), problem=problem)
            metrics.QUERIES.labels("failed").inc()
            return pack(failure(query, RCODE.SERVFAIL), limit)
        finally:
            self._pending -= 1
        metrics.QUERIES.labels("forwarded").inc()
        if limit is not None and len(answer) > limit:
            short = failure(query, answer[3] & 0x0F)
            short.header.tc = 1
            return pack(short, limit)
        return answer

    def startService(self) -> None:
        """Listen. Raises ConnectError when an address cannot be had."""
        super().startService()
        for address in self._listen:
            endpoint = ServerEndpoint(self._reactor, address)
            self._ports.append(endpoint.listen_now(cast(Any, _Streams(self))))
            # Where port 0 is asked for, UDP takes the number that TCP got.
            bound = TCPAddress(address.host, self._ports[-1].getHost().port)
            datagrams = _Datagrams(self)
            try:
                udp = self._reactor.listenUDP(bound.port, datagrams, bound.host, MAX_PACKET)
            except CannotListenError as problem:
                raise ConnectError(f"cannot listen on {bound}: {problem.socketError}") from problem
            self._ports.append(udp)
            _log.info("DNS for node names on {address}", address=str(bound))

    def stopService(self) -> None:
        """Listen no more."""
        super().stopService()
        if self._forwarder is not None:
            self._forwarder.stop()
        ports, self._ports = self._ports, []
        for port in ports:
            cast(IListeningPort, port).stopListening()


class _Datagrams(DatagramProtocol):
    """Questions over UDP."""

    noisy = False

    def __init__(self, server: DNSServer) -> None:
        self._server = server

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if not self._server.clients.allow(addr[0]):
            metrics.QUERIES.labels("refused").inc()
            return
        known = self._server.known(datagram, False)
        if known is not None:
            self._send(known, addr)
            return
        in_background(self._answer(datagram, addr), _log, "a question failed")

    async def _answer(self, question: bytes, addr: Any) -> None:
        answer = await self._server.respond(question, False)
        if answer is not None:
            self._send(answer, addr)

    def _send(self, answer: bytes, addr: Any) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.write(answer, addr)


@implementer(IPushProducer)
class _Questions(Protocol):
    """Questions over one TCP connection, answered as the answers come (RFC 7766).

    Whoever does not read its answers is not read from either.
    """

    transport: Any

    def __init__(self, server: DNSServer, reactor: IReactor) -> None:
        self._server = server
        self._received = bytearray()
        self._idle = reactor.callLater(IDLE, self._silent)
        self._waiting: set[Deferred[None]] = set()
        self._full = False
        self._asking = False

    def connectionMade(self) -> None:
        self._server.streams += 1
        self.transport.registerProducer(self, True)

    def _silent(self) -> None:
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        self._ask()

    def _ask(self) -> None:
        if self._asking:
            return  # a question that is answered at once leads here again
        self._asking = True
        received = self._received
        while len(received) >= 2 and not self._full and len(self._waiting) < MAX_WAITING:
            size = int.from_bytes(received[:2], "big")
            if len(received) < 2 + size:
                break
            question = bytes(received[2 : 2 + size])
            del received[: 2 + size]
            if self._idle.active():
                self._idle.reset(IDLE)
            known = self._server.known(question, True)
            if known is not None:
                self._send(known)
                continue
            answered = in_background(self._answer(question), _log, "a question failed")
            self._waiting.add(answered)
            answered.addCallback(self._answered, answered)
        self._asking = False
        self._pace()

    def _pace(self) -> None:
        if self._full or len(self._waiting) >= MAX_WAITING:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def _answered(self, _: object, answered: Deferred[None]) -> None:
        self._waiting.discard(answered)
        if self._received or len(self._waiting) == MAX_WAITING - 1:
            self._ask()

    async def _answer(self, question: bytes) -> None:
        answer = await self._server.respond(question, True)
        if answer is not None:
            self._send(answer)

    def _send(self, answer: bytes) -> None:
        self.transport.write(len(answer).to_bytes(2, "big") + answer)

    def pauseProducing(self) -> None:
        self._full = True
        self._pace()

    def resumeProducing(self) -> None:
        self._full = False
        self._ask()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    def connectionLost(self, reason: Any = None) -> None:
        self._server.streams -= 1
        if self._idle.active():
            self._idle.cancel()
        self._full = True
        for answered in list(self._waiting):
            answered.cancel()


class _Streams(Factory):
    noisy = False

    def __init__(self, server: DNSServer) -> None:
        self._server = server

    def buildProtocol(self, addr: Any) -> Protocol | None:
        if not self._server.clients.allow(addr.host):
            metrics.QUERIES.labels("refused").inc()
            return None
        if self._server.streams >= MAX_STREAMS:
            metrics.QUERIES.labels("overload").inc()
            return None
        return _Questions(self._server, self._server._reactor)
