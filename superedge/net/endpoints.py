"""Endpoints that listen and connect, with the transports of `superedge.net.transport`."""

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
from superedge.net.sockets import address_text, peer_sockaddr, set_options, twisted_address
from superedge.net.tlstransport import TLSTransport
from superedge.net.transport import StreamTransport

HANDSHAKE_TIMEOUT = 10.0
"""Seconds that a connected client has to complete the TLS handshake."""

_log = Logger()

TLSFailureHook = Callable[[IAddress, str], None]


class ContextSource(TypingProtocol):
    """Gives the TLS context for the next connection, and decides which peers are trusted."""

    def current(self) -> ssl.SSLContext:
        """The context for a connection that begins now."""

    def admit(self, connection: TLSTransport) -> str:
        """Check a connection whose handshake is complete. Return why it is refused, or an empty string.

        The source calls the connection's ``end`` as soon as its peer is no longer trusted.
        """


def log_tls_failure(peer: IAddress, reason: str) -> None:
    """Log that a client's handshake failed; the default of ``ServerEndpoint``."""
    _log.info("refused TLS connection from {peer}: {reason}", peer=address_text(peer), reason=reason)


class _HandshakeProtocol(Protocol):
    """The transport's protocol until the TLS handshake is complete."""

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
        """Start the handshake timeout."""
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
        """The handshake is complete: check the peer and hand over the transport."""
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
    """Listens on ``address``. With ``tls``, a protocol is built only after a successful handshake.

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
        """Implements IStreamServerEndpoint; see `listen_now`."""
        return maybeDeferred(self.listen_now, protocolFactory)

    def listen_now(self, factory: IProtocolFactory) -> IListeningPort:
        """Start listening. Raises ConnectError, which names the address."""

        def accepted(sock: socket.socket, peer: Any) -> None:
            self._accept(sock, peer, factory)

        def again(address: Address) -> socket.socket:
            return bind(address, self._backlog, self._mode, self._reuse_port)

        try:
            sock = again(self._address)
        except OSError as problem:
            text = f"cannot listen on {self._address}: {problem.strerror or problem}"
            if problem.errno == errno.EADDRINUSE and isinstance(self._address, TCPAddress):
                text += (
                    ", by a listener or by an outgoing connection"  # which may have any port of a wide range
                )
            raise ConnectError(text) from problem
        port = ListeningSocket(sock, self._address, self._reactor, factory, accepted, again, self._kept)
        port.startListening()
        return port

    def _accept(self, sock: socket.socket, peer: Any, factory: IProtocolFactory) -> None:
        if self._tls is not None:

            def established(transport: TLSTransport) -> None:
                _connect_protocol(transport, factory.buildProtocol(transport.getPeer()))

            handshake = _HandshakeProtocol(
                self._reactor, self._tls, established, self._on_tls_failure, HANDSHAKE_TIMEOUT
            )
            context = self._tls.current()
            secured = TLSTransport(sock, context, handshake, self._reactor, handshake.established, peer)
            handshake.makeConnection(secured)
            secured.startReading()
            return
        protocol = factory.buildProtocol(twisted_address(peer))
        if protocol is None:
            sock.close()
            return
        # Most clients send first, so their first bytes are often there already.
        StreamTransport(sock, protocol, self._reactor, peer).begin(read_now=True)


@implementer(IStreamClientEndpoint)
class ClientEndpoint:
    """Connects to ``address``. With ``tls``, verifies that the peer's certificate is for ``server_name``.

    The addresses of a name are tried as Happy Eyeballs does, each with its TLS handshake; ``timeout`` seconds
    bound all attempts together. Failures are `superedge.net.errors.ConnectError`.
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
        """Connect; fires with the connected protocol. Cancellable."""
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
            if outcome.called:  # the caller cancelled it and got the CancelledError
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
            StreamTransport(sock, protocol, self._reactor, peer_sockaddr(sock)).begin()
            return protocol
        transport = await first_of(self._reactor, await self._tls_attempts(self._tls), ATTEMPT_DELAY)
        # The protocol must be in place before data behind the handshake is read.
        protocol = self._built(factory, transport.socket)
        _connect_protocol(transport, protocol)
        try:
            await deferLater(self._reactor, 0)
        except CancelledError:
            transport.abortConnection()
            raise
        return protocol

    def _built(self, factory: IProtocolFactory, sock: socket.socket) -> IProtocol:
        protocol = factory.buildProtocol(twisted_address(peer_sockaddr(sock)))
        if protocol is None:
            sock.close()
            raise ConnectError(f"no protocol for {self._address}")
        return protocol

    async def attempts(self) -> list[Attempt[socket.socket]]:
        """Attempts to connect a socket, the best first.

        A subclass may connect differently. Raises ConnectError.
        """
        if isinstance(self._address, UnixAddress):
            targets: list[Address] = [self._address]
        else:
            hosts = await resolve(self._reactor, self._address.host)
            targets = [TCPAddress(host, self._address.port) for host in hosts]
        return [partial(connect, self._reactor, target) for target in targets]

    async def connected_socket(self) -> socket.socket:
        """The socket of the first attempt that succeeds. Raises ConnectError."""
        return await first_of(self._reactor, await self.attempts(), ATTEMPT_DELAY)

    async def _tls_attempts(self, tls: ContextSource) -> list[Attempt[TLSTransport]]:
        """As `attempts`, each with its TLS handshake: an address that connects may lead nowhere all the
        same."""

        def secured(attempt: Attempt[socket.socket]) -> Attempt[TLSTransport]:
            return lambda: Deferred.fromCoroutine(self._secured(attempt, tls))

        return [secured(attempt) for attempt in await self.attempts()]

    def _prepared(self, sock: socket.socket) -> socket.socket:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            set_options(sock)
        return sock

    async def _secured(self, attempt: Attempt[socket.socket], tls: ContextSource) -> TLSTransport:
        sock = self._prepared(await attempt())
        ready: Deferred[TLSTransport] = Deferred(lambda _: transport.abortConnection())

        def failed(_peer: IAddress, reason: str) -> None:
            if not ready.called:
                ready.errback(TLSError(f"{self._address}: {reason}"))

        handshake = _HandshakeProtocol(self._reactor, tls, ready.callback, failed, self._timeout)
        try:
            transport = TLSTransport(
                sock,
                tls.current(),
                handshake,
                self._reactor,
                handshake.established,
                peer_sockaddr(sock),
                self._server_name,
            )
        except ValueError as problem:  # UnicodeError is a ValueError
            sock.close()
            name = str(self._server_name)[:100]
            raise TLSError(f"{self._address}: {name!r} is not a server name: {problem}") from problem
        handshake.makeConnection(transport)
        outcome = transport.handshake()
        if outcome is not None:
            transport.connectionLost(Failure(outcome))
        return await ready


def _connect_protocol(transport: TLSTransport, protocol: IProtocol | None) -> None:
    """Connect the protocol to the transport, or abort the transport without a protocol."""
    if protocol is None:
        transport.abortConnection()
        return
    transport.protocol = protocol
    protocol.makeConnection(transport)
