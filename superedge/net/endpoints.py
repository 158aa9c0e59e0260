"""Listening and dialling: endpoints that give the transports of `superedge.net.transport`."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.config.addresses import Address, TCPAddress, UnixAddress
from superedge.interfaces import IReactor
from superedge.net.connecting import connect
from superedge.net.descriptors import KEPT
from superedge.net.errors import ConnectError, ConnectTimeout, TLSError
from superedge.net.listener import ListeningSocket, bind
from superedge.net.racing import ATTEMPT_DELAY, Attempt, first_of
from superedge.net.resolve import resolve
from superedge.net.sockets import address_text, peer_of, prepare, socket_address
from superedge.net.tlstransport import TLSTransport
from superedge.net.transport import StreamTransport

HANDSHAKE_TIMEOUT = 10.0
"""Seconds a connected client has to finish the TLS handshake."""

_log = Logger()

TLSFailureHook = Callable[[IAddress, str], None]


class ContextSource(TypingProtocol):
    """Gives the TLS context for the next connection, and says whom it trusts."""

    def current(self) -> ssl.SSLContext:
        """The context to use now."""

    def admit(self, connection: TLSTransport) -> str:
        """Take note of a connection whose handshake is done; why it is not let in, empty when it is.

        The connection's ``end`` is called when its peer is not to be trusted any more.
        """


def log_tls_failure(peer: IAddress, reason: str) -> None:
    """Say that a client's handshake failed; the default of ``ServerEndpoint``."""
    _log.info("refused TLS connection from {peer}: {reason}", peer=address_text(peer), reason=reason)


class _Handshake(Protocol):
    """Stands in for the real protocol until the TLS handshake is done."""

    transport: TLSTransport

    def __init__(
        self,
        reactor: IReactor,
        tls: ContextSource,
        ready: Callable[[TLSTransport], None],
        failed: Callable[[IAddress, str], None],
        timeout: float,
    ) -> None:
        self._tls = tls
        self._ready = ready
        self._failed = failed
        self._timeout = timeout
        self._reactor = reactor
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Its time begins."""
        self._deadline = self._reactor.callLater(self._timeout, self._timed_out)

    def _timed_out(self) -> None:
        self._deadline = None
        self.transport.failure_text = f"no TLS handshake within {self._timeout:g} s"
        self.transport.abortConnection()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def established(self) -> None:
        """Give the transport to whoever waits for it."""
        self._cancel_deadline()
        refusal = self._tls.admit(self.transport)
        if refusal:
            self.transport.failure_text = refusal
            self.transport.abortConnection()
        else:
            self._ready(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The handshake failed."""
        self._cancel_deadline()
        text = self.transport.failure_text or "the peer closed during the TLS handshake"
        self._failed(self.transport.getPeer(), text)


@implementer(IStreamServerEndpoint)
class ServerEndpoint:
    """Listens on ``address``; with ``tls``, protocols see only connections whose handshake succeeded.

    A Unix socket is made with ``mode`` and replaces a stale one that nobody answers on. Callers leave
    ``kept`` file descriptors to the process.
    """

    def __init__(
        self,
        reactor: IReactor,
        address: Address,
        tls: ContextSource | None = None,
        on_tls_failure: TLSFailureHook = log_tls_failure,
        mode: int = 0o660,
        backlog: int = 1024,
        reuse_port: bool = False,
        kept: int = KEPT,
    ) -> None:
        self._reactor = reactor
        self._address = address
        self._tls = tls
        self._on_tls_failure = on_tls_failure
        self._mode = mode
        self._backlog = backlog
        self._reuse_port = reuse_port
        self._kept = kept

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """As `listen_now`, for who expects a Deferred."""
        return maybeDeferred(self.listen_now, protocolFactory)

    def listen_now(self, factory: IProtocolFactory) -> IListeningPort:
        """Start listening. Raises ConnectError naming the address when that is not possible."""

        def accepted(sock: socket.socket, peer: Any) -> None:
            self._accept(sock, peer, factory)

        try:
            sock = bind(self._address, self._backlog, self._mode, self._reuse_port)
        except OSError as problem:
            text = f"cannot listen on {self._address}: {problem.strerror or problem}"
            if problem.errno == errno.EADDRINUSE and isinstance(self._address, TCPAddress):
                text += (
                    ", by a listener or by an outgoing connection"  # which may have any port of a wide range
                )
            raise ConnectError(text) from problem
        port = ListeningSocket(sock, self._address, self._reactor, factory, accepted, self._kept)
        port.startListening()
        return port

    def _accept(self, sock: socket.socket, peer: Any, factory: IProtocolFactory) -> None:
        if self._tls is not None:

            def established(transport: TLSTransport) -> None:
                _hand_over(transport, factory.buildProtocol(transport.getPeer()))

            handshake = _Handshake(
                self._reactor, self._tls, established, self._on_tls_failure, HANDSHAKE_TIMEOUT
            )
            context = self._tls.current()
            secured = TLSTransport(sock, context, handshake, self._reactor, handshake.established, peer)
            handshake.makeConnection(secured)
            secured.startReading()
            return
        protocol = factory.buildProtocol(socket_address(peer))
        if protocol is None:
            sock.close()
            return
        # Who connects speaks first, as a rule: its first bytes are often there already.
        StreamTransport(sock, protocol, self._reactor, peer).begin(read_now=True)


@implementer(IStreamClientEndpoint)
class ClientEndpoint:
    """Dials ``address``; with ``tls``, also verifies that the peer is ``server_name``.

    Each address of a name is tried, its TLS handshake included, beside one that does not answer; ``timeout``
    seconds hold for all. Failures are `superedge.net.errors.ConnectError`.
    """

    def __init__(
        self,
        reactor: IReactor,
        address: Address,
        tls: ContextSource | None = None,
        server_name: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._reactor = reactor
        self._address = address
        self._tls = tls
        self._server_name = server_name or (address.host if isinstance(address, TCPAddress) else "localhost")
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect and return the connected protocol; cancellable."""
        attempt = Deferred.fromCoroutine(self._connect(protocolFactory))
        outcome: Deferred[IProtocol] = Deferred(lambda _: attempt.cancel())
        timed_out = False

        def expire() -> None:
            nonlocal timed_out
            timed_out = True
            attempt.cancel()

        deadline = self._reactor.callLater(self._timeout, expire)

        def finished(result: IProtocol | Failure) -> None:
            if deadline.active():
                deadline.cancel()
            if timed_out and isinstance(result, Failure):
                result = Failure(ConnectTimeout(f"{self._address} did not answer within {self._timeout:g} s"))
            if outcome.called:  # cancelled by the caller, who has the CancelledError
                return
            if isinstance(result, Failure):
                outcome.errback(result)
            else:
                outcome.callback(result)

        attempt.addBoth(finished)
        return outcome

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        factory.doStart()
        if self._tls is None:
            sock = self._prepared(await self.connected_socket())
            protocol = self._built(factory, sock)
            StreamTransport(sock, protocol, self._reactor, peer_of(sock)).begin()
            return protocol
        transport = await first_of(self._reactor, await self._secured_ways(self._tls), ATTEMPT_DELAY)
        # Before anything that came behind the handshake is read from the transport.
        protocol = self._built(factory, transport.socket)
        _hand_over(transport, protocol)
        try:
            await deferLater(self._reactor, 0)
        except CancelledError:
            transport.abortConnection()
            raise
        return protocol

    def _built(self, factory: IProtocolFactory, sock: socket.socket) -> IProtocol:
        protocol = factory.buildProtocol(socket_address(peer_of(sock)))
        if protocol is None:
            sock.close()
            raise ConnectError(f"no protocol for {self._address}")
        return protocol

    async def ways(self) -> list[Attempt[socket.socket]]:
        """Attempts to connect a socket, the best first; a subclass may get there another way.

        Raises ConnectError.
        """
        if isinstance(self._address, UnixAddress):
            targets: list[Address] = [self._address]
        else:
            hosts = await resolve(self._reactor, self._address.host)
            targets = [TCPAddress(host, self._address.port) for host in hosts]
        return [partial(connect, self._reactor, target) for target in targets]

    async def connected_socket(self) -> socket.socket:
        """A socket that leads to the address, of the way that is open first. Raises ConnectError."""
        return await first_of(self._reactor, await self.ways(), ATTEMPT_DELAY)

    async def _secured_ways(self, tls: ContextSource) -> list[Attempt[TLSTransport]]:
        """As `ways`, each with its TLS handshake: an address that connects may lead nowhere all the same."""

        def secured(way: Attempt[socket.socket]) -> Attempt[TLSTransport]:
            return lambda: Deferred.fromCoroutine(self._secured(way, tls))

        return [secured(way) for way in await self.ways()]

    def _prepared(self, sock: socket.socket) -> socket.socket:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            prepare(sock)
        return sock

    async def _secured(self, way: Attempt[socket.socket], tls: ContextSource) -> TLSTransport:
        sock = self._prepared(await way())
        ready: Deferred[TLSTransport] = Deferred(lambda _: transport.abortConnection())

        def failed(_peer: IAddress, reason: str) -> None:
            if not ready.called:
                ready.errback(TLSError(f"{self._address}: {reason}"))

        handshake = _Handshake(self._reactor, tls, ready.callback, failed, self._timeout)
        try:
            transport = TLSTransport(
                sock,
                tls.current(),
                handshake,
                self._reactor,
                handshake.established,
                peer_of(sock),
                self._server_name,
            )
        except ValueError as problem:  # of which UnicodeError is one
            sock.close()
            name = str(self._server_name)[:100]
            raise TLSError(f"{self._address}: {name!r} is no name of a server: {problem}") from problem
        handshake.makeConnection(transport)
        outcome = transport.handshake()
        if outcome is not None:
            transport.connectionLost(Failure(outcome))
        return await ready


def _hand_over(transport: TLSTransport, protocol: IProtocol | None) -> None:
    """Give an established transport to the protocol it is for, if there is one."""
    if protocol is None:
        transport.abortConnection()
        return
    transport.protocol = protocol
    protocol.makeConnection(transport)
