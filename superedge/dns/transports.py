"""How questions come and answers go: UDP, and TCP with many questions under way (RFC 7766)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ServerEndpoint
from superedge.net.errors import ConnectError
from superedge.net.networks import Networks
from superedge.reactor.reading import SocketReader
from superedge.reactor.task import Task, in_background

MAX_WAITING = 100
"""Questions of one TCP connection that are being answered; the next ones are not read yet."""
IDLE = 30.0
"""Seconds that a TCP connection has for its next question, whole."""
MAX_STREAMS = 1000
"""TCP connections at once."""
MAX_DATAGRAM = 4096
"""Bytes of the largest question over UDP."""
DATAGRAMS_A_ROUND = 64
PORT_ATTEMPTS = 10
_IP_PKTINFO = 8
RECEIVE_BUFFER = 1 << 20
"""Bytes of questions that wait in the kernel."""

_log = Logger()


class Responder(Protocol):
    """Whoever answers what the transports carry."""

    clients: Networks
    streams: dict[Questions, None]
    """TCP connections, ordered by their last question."""

    def known(self, data: bytes, stream: bool) -> bytes | None:
        """The answer to a packet, where it is at hand."""

    async def respond(self, data: bytes, stream: bool) -> bytes | None:
        """The answer to a packet; None for what gets none."""

    def turned_away(self, reason: str) -> None:
        """Count a client that was not allowed ("refused"), or was one too many ("overload")."""


class Listening:
    """The sockets of one server."""

    def __init__(
        self,
        reactor: IReactor,
        addresses: Sequence[TCPAddress],
        responder: Responder,
        reuse_port: bool = False,
    ) -> None:
        self._reactor = reactor
        self._addresses = addresses
        self._responder = responder
        self._reuse_port = reuse_port
        self._ports: list[Any] = []

    @property
    def addresses(self) -> list[Any]:
        """Where it listens, TCP then UDP for each address."""
        return [port.getHost() for port in self._ports]

    def start(self) -> None:
        """Listen. Raises ConnectError when an address cannot be had."""
        for address in self._addresses:
            for attempt in range(PORT_ATTEMPTS):
                endpoint = ServerEndpoint(self._reactor, address, reuse_port=self._reuse_port)
                tcp = endpoint.listen_now(cast(Any, Streams(self._responder, self._reactor)))
                # Where port 0 is asked for, UDP takes the number that TCP got, unless it has another user.
                bound = TCPAddress(address.host, cast(Any, tcp).getHost().port)
                datagrams = Datagrams(self._reactor, bound, self._responder, self._reuse_port)
                try:
                    datagrams.start()
                    break
                except OSError as problem:
                    tcp.stopListening()
                    if address.port or attempt == PORT_ATTEMPTS - 1:
                        raise ConnectError(f"cannot listen on {bound}: {problem.strerror}") from problem
            self._ports += [tcp, datagrams]

    def stop(self) -> None:
        """Listen no more."""
        ports, self._ports = self._ports, []
        for port in ports:
            port.stopListening()


def _bind(address: TCPAddress, reuse_port: bool) -> socket.socket:
    found = socket.getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )
    family, kind, number, _, sockaddr = found[0]
    sock = socket.socket(family, kind, number)
    try:
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind(sockaddr)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


class _Peer(NamedTuple):
    """Who asked, and how the kernel is told from which address the answer leaves."""

    host: str
    address: Any
    ancillary: list[tuple[int, int, bytes]]


class _EveryAddress:
    """A socket that has every address of the machine: an answer leaves from the one asked (ip(7))."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)

    def receive(self, size: int) -> tuple[bytes, _Peer]:
        """As `socket.recvfrom`."""
        data, ancillary, _, address = self._socket.recvmsg(size, socket.CMSG_SPACE(20))
        asked = [
            (level, kind, info if level == socket.IPPROTO_IPV6 else bytes(4) + info[4:8] + bytes(4))
            for level, kind, info in ancillary
        ]
        return data, _Peer(address[0], address, asked)

    def send(self, data: bytes, peer: _Peer) -> None:
        """As `socket.sendto`."""
        self._socket.sendmsg([data], peer.ancillary, 0, peer.address)


class Datagrams(SocketReader):
    """Questions over UDP. Twisted's own port takes a third of the time that an answer at hand may take."""

    def __init__(
        self, reactor: IReactor, address: TCPAddress, responder: Responder, reuse_port: bool = False
    ) -> None:
        super().__init__(reactor, f"answering DNS questions over UDP on {address}")
        self._address = address
        self._responder = responder
        self._reuse_port = reuse_port

    def open(self) -> socket.socket:
        """See `SocketReader`."""
        sock = _bind(self._address, self._reuse_port)
        self._receive, self._send = sock.recvfrom, sock.sendto
        if sock.getsockname()[0] in ("0.0.0.0", "::"):
            every = _EveryAddress(sock)
            self._receive, self._send = every.receive, every.send  # type: ignore[assignment]
        return sock

    def doRead(self) -> None:
        """Answer what waits, a bounded number at a time."""
        responder, receive, send = self._responder, self._receive, self._send
        known, allow = responder.known, responder.clients.allow
        for _ in range(DATAGRAMS_A_ROUND):
            try:
                data, peer = receive(MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an earlier answer did not arrive
            if not allow(peer[0]):
                responder.turned_away("refused")
                continue
            answer = known(data, False)
            if answer is None:
                Task(self._answer(data, peer), _failed)
                continue
            with contextlib.suppress(OSError):  # the client asks again
                send(answer, peer)

    async def _answer(self, question: bytes, peer: Any) -> None:
        answer = await self._responder.respond(question, False)
        if answer is not None and self.sock is not None:
            with contextlib.suppress(OSError):
                self._send(answer, peer)

    def stopListening(self) -> None:
        """Close the socket."""
        self.stop()

    def getHost(self) -> Any:
        """The address bound."""
        assert self.sock is not None
        name = self.sock.getsockname()
        return IPv6Address("UDP", *name) if len(name) == 4 else IPv4Address("UDP", *name)


def _failed(failure: Failure) -> None:
    _log.failure("a question failed", failure)


@implementer(IPushProducer)
class Questions(StreamProtocol):
    """Questions over one TCP connection, answered as the answers come.

    Whoever does not read its answers is not read from either.
    """

    transport: Any

    def __init__(self, server: Responder, reactor: IReactor) -> None:
        self._server = server
        self._received = bytearray()
        self._idle = reactor.callLater(IDLE, self.give_way)
        self._waiting: set[Deferred[None]] = set()
        self._full = False
        self._asking = False

    def connectionMade(self) -> None:
        """Read."""
        self._server.streams[self] = None
        self.transport.registerProducer(self, True)

    @property
    def waits(self) -> bool:
        """Whether a question of it is being answered."""
        return bool(self._waiting)

    def give_way(self) -> None:
        """End, for another connection."""
        self._server.streams.pop(self, None)
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Some of the questions' bytes."""
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
                self._server.streams[self] = self._server.streams.pop(self, None)
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
        """Answers pile up: read no more."""
        self._full = True
        self._pace()

    def resumeProducing(self) -> None:
        """They have left: go on."""
        self._full = False
        self._ask()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""

    def connectionLost(self, reason: Any = None) -> None:
        """Give up what is being answered."""
        self._server.streams.pop(self, None)
        if self._idle.active():
            self._idle.cancel()
        self._full = True
        for answered in list(self._waiting):
            answered.cancel()


class Streams(Factory):
    """Takes TCP connections of those who may ask."""

    noisy = False

    def __init__(self, server: Responder, reactor: IReactor) -> None:
        self._server = server
        self._reactor = reactor

    def buildProtocol(self, addr: Any) -> StreamProtocol | None:
        """None closes the connection."""
        if not self._server.clients.allow(addr.host):
            self._server.turned_away("refused")
            return None
        if len(self._server.streams) >= MAX_STREAMS:
            idle = next((each for each in self._server.streams if not each.waits), None)
            if idle is None:
                self._server.turned_away("overload")
                return None
            idle.give_way()
        return Questions(self._server, self._reactor)
