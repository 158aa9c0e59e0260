"""The client side: pooled connections to one set of upstream servers, one request on each at a time.

`superedge.web.h2pool` has those that many requests share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ContextSource
from superedge.net.errors import ConnectError
from superedge.net.factory import MakingFactory
from superedge.net.later import Later
from superedge.net.servers import Servers
from superedge.web.h1 import End, MessageError, ResponseReader, Switched, chunk, last_chunk
from superedge.web.heads import Headers, OutgoingRequest, ResponseHead

MAX_IDLE = 64
IDLE_TIMEOUT = 90.0
"""Seconds an unused connection is kept; kube-apiserver keeps it longer."""

Made = TypeVar("Made", bound=IProtocol)


class ResponseReceiver(Protocol):
    """Who takes a response."""

    def response(self, head: ResponseHead) -> None:
        """The status and headers, informational ones (1xx) included."""

    def data(self, pieces: list[bytes]) -> None:
        """Pieces of the body."""

    def complete(self, trailers: Headers) -> None:
        """The response is whole. Called before the connection is used again."""

    def round_done(self) -> None:
        """All that came in one piece has been told: the moment to send it on."""

    def switched(self, connection: UpstreamConnection, rest: bytes) -> None:
        """After a 101: the connection is the receiver's; ``rest`` came behind the head."""

    def failed(self, reason: str) -> None:
        """The connection ended before the response did, or what it brought was no HTTP."""


class UpstreamChannel(Protocol):
    """What one request goes over and its response comes back: a connection, or a stream of a shared one."""

    used: bool
    """Whether the server may have given it up before it saw the request."""

    @property
    def producer(self) -> Any:
        """Where the response's body comes from: paused, it stops the server."""

    def begin(self, request: OutgoingRequest, receiver: ResponseReceiver) -> None:
        """Send a request's head. Its body follows by `send` and `end`."""

    def body_from(self, producer: Any) -> None:
        """Pause ``producer``, whose pieces are given to `send`, while the server takes none."""

    def send(self, data: bytes) -> None:
        """A piece of the request's body."""

    def end(self, trailers: Headers) -> None:
        """The request's body is complete."""

    def give_up_body(self) -> None:
        """The response is whole, and the rest of the request is not wanted."""

    def abandon(self) -> None:
        """The response is no longer wanted."""


class ChannelSource(Protocol):
    """Where channels come from."""

    def take_idle(self) -> UpstreamChannel | None:
        """One that is there, to be used at once, if there is one."""

    def connect(self) -> Deferred[Any]:
        """One that has to be made; fails with ConnectError after every server was tried. Cancellable."""


class SharedConnections(ChannelSource, Protocol):
    """Connections whose streams are channels, beside a `Pool` of the same identity."""

    def close_idle(self, before: float | None = None) -> None:
        """As `Pool.close_idle`; without ``before``, busy ones are not used for more."""

    def replace(self, bound: float) -> None:
        """As `Pool.replace`."""

    def abort(self) -> None:
        """As `Pool.abort`."""


@implementer(IHalfCloseableProtocol)
class UpstreamConnection(TwistedProtocol):
    """One connection; `request` may be called while it is idle."""

    transport: Any

    def __init__(self, released: Callable[[UpstreamConnection], None]) -> None:
        self._reader = ResponseReader()
        self._released = released
        self._receiver: ResponseReceiver | None = None
        self._unbounded = False
        self._keep_alive = True
        self._switching = False
        self._interim = False
        self._response_complete = False
        self._request_complete = True
        self._chunked = False
        self.used = False
        """Whether a request has been answered on it before."""
        self.usable = True
        self.idle_since = 0.0
        self.lost: Callable[[UpstreamConnection], None] | None = None
        self._send_soon: Callable[[bytes], None]

    def connectionMade(self) -> None:
        """Called by Twisted."""
        self._send_soon = getattr(self.transport, "write_soon", self.transport.write)

    def request(self, head: bytes, head_only: bool, complete: bool, receiver: ResponseReceiver) -> None:
        """Send a request's head; ``complete`` when no body follows."""
        self._receiver = receiver
        self._unbounded = False
        self._keep_alive = True
        self._response_complete = False
        self._request_complete = complete
        self._reader.expect(head_only)
        self._send_soon(head)

    # -- UpstreamChannel

    @property
    def producer(self) -> Any:
        """Where the response's body comes from."""
        return self.transport

    def begin(self, request: OutgoingRequest, receiver: ResponseReceiver) -> None:
        """Send a request's head."""
        self._chunked = request.chunked
        self.request(request.head, request.method == b"HEAD", not request.has_body, receiver)

    def body_from(self, producer: Any) -> None:
        """Pause ``producer`` while the server takes no more."""
        self.transport.registerProducer(producer, True)

    def send(self, data: bytes) -> None:
        """A piece of the request's body."""
        self.transport.writeSequence(chunk([data]) if self._chunked else [data])

    def end(self, trailers: Headers) -> None:
        """The request's body is complete."""
        if self._chunked:
            self.transport.write(last_chunk(trailers))
        self.transport.unregisterProducer()
        self.request_sent()

    def give_up_body(self) -> None:
        """Answered before the request was read to its end: the connection serves no other."""
        self.transport.unregisterProducer()
        self.usable = False
        self.transport.loseConnection()

    def request_sent(self) -> None:
        """The request's body has been written to its end."""
        self._request_complete = True
        if self._response_complete:
            self._release()

    def abandon(self) -> None:
        """The response is no longer wanted."""
        self._receiver = None
        self.usable = False
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Read the response."""
        receiver = self._receiver
        if receiver is None:
            # Nothing was asked: an unsolicited 408 or the like, and then the end.
            self.usable = False
            self.transport.loseConnection()
            return
        try:
            events = self._reader.feed(data)
        except MessageError as problem:
            self._broken(str(problem))
            return
        pieces: list[bytes] = []
        for event in events:
            if type(event) is bytes:
                pieces.append(event)
            elif type(event) is ResponseHead:
                self._begun(event, receiver)
            elif type(event) is End:
                if self._switching:
                    continue
                if self._interim:
                    self._interim = False
                    continue
                if pieces:
                    receiver.data(pieces)
                    pieces = []
                    if self._receiver is not receiver:
                        break  # it gave up
                if event is not events[-1]:
                    self._keep_alive = False  # it answers what was not asked
                self._complete(receiver, event.trailers)
            elif type(event) is Switched:
                self._hand_over(receiver, event.rest)
                return
            if self._receiver is not receiver:
                break  # it gave up meanwhile
        if self._switching and self._receiver is receiver:
            self._hand_over(receiver, b"")
            return
        if pieces and self._receiver is receiver:
            receiver.data(pieces)
        receiver.round_done()

    def _begun(self, head: ResponseHead, receiver: ResponseReceiver) -> None:
        self._switching = head.status == 101
        if head.status >= 200:
            self._unbounded = not head.bounded
            self._keep_alive = head.keep_alive and head.bounded
        receiver.response(head)
        if head.status < 200 and not self._switching:
            # The parser takes an informational head for a whole message.
            self._interim = True

    def _hand_over(self, receiver: ResponseReceiver, rest: bytes) -> None:
        self._receiver = None
        self.usable = False
        receiver.switched(self, rest)

    def _complete(self, receiver: ResponseReceiver, trailers: Headers) -> None:
        self._response_complete = True
        self._receiver = None
        self.used = True
        receiver.complete(trailers)
        if self._request_complete:
            self._release()
        # else: it was answered before its body was sent, see request_sent

    def _release(self) -> None:
        if not self._keep_alive:
            self.usable = False
            self.transport.loseConnection()
        self._released(self)

    def _broken(self, reason: str) -> None:
        receiver, self._receiver = self._receiver, None
        self.usable = False
        self.transport.abortConnection()
        if receiver is not None:
            receiver.failed(reason)

    def readConnectionLost(self) -> None:
        """The server sends no more."""
        self.usable = False
        receiver = self._receiver
        if receiver is not None and self._unbounded:
            # A body without a length ends here (RFC 9112 section 6.3).
            self._keep_alive = False
            self._request_complete = True
            self._complete(receiver, [])
            receiver.round_done()
            return
        self._broken("the server closed the connection")

    def writeConnectionLost(self) -> None:
        """Nobody half-closes here."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever waits."""
        self.usable = False
        receiver, self._receiver = self._receiver, None
        if self.lost is not None:
            self.lost(self)
        if receiver is not None:
            text = getattr(self.transport, "failure_text", None)
            receiver.failed(text or "the connection was lost")


class Pool:
    """Connections with one identity. Idle ones are used again, the last used first."""

    def __init__(
        self,
        reactor: IReactor,
        servers: Servers,
        tls: ContextSource,
        server_name: str | None,
        connect_timeout: float,
    ) -> None:
        self._reactor = reactor
        self._servers = servers
        self._tls = tls
        self._server_name = server_name
        self._connect_timeout = connect_timeout
        self._idle: list[UpstreamConnection] = []
        self._connections: dict[UpstreamConnection, object] = {}
        self._ends = Later(reactor)
        self.shared: SharedConnections | None = None
        """Connections for what need not have one of its own, if there are such."""

    def take_idle(self) -> UpstreamConnection | None:
        """An idle connection, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def connect(self) -> Deferred[UpstreamConnection]:
        """A new connection; fails with ConnectError after every server was tried. Cancellable."""
        return Deferred.fromCoroutine(self._connect())

    async def _connect(self) -> UpstreamConnection:
        generation = self._tls.current()
        connection = await self.dial(self._tls, self.build)
        self.adopt(connection, generation)
        return connection

    @property
    def generation(self) -> object:
        """Changes when the identity's files do."""
        return self._tls.current()

    def build(self) -> UpstreamConnection:
        """A connection of this pool that is not connected yet, see `adopt`."""
        return UpstreamConnection(self._released)

    def adopt(self, connection: UpstreamConnection, generation: object) -> None:
        """Count a connection that was made when `generation` was this."""
        self._connections[connection] = generation
        connection.lost = self._lost

    async def dial(self, tls: ContextSource, build: Callable[[], Made]) -> Made:
        """A protocol that is connected to the first server that answers. Raises ConnectError."""
        problem: ConnectError | None = None
        for address in self._servers.order(self._reactor.seconds()):
            endpoint = ClientEndpoint(
                self._reactor, address, tls, self._server_name, timeout=self._connect_timeout
            )
            try:
                protocol = await endpoint.connect(cast(Any, MakingFactory(build)))
            except ConnectError as refused:
                self._servers.failed(address, self._reactor.seconds())
                problem = refused
                continue
            self._servers.connected(address)
            return cast(Made, protocol)
        raise problem or ConnectError("no upstream server is configured")

    def _released(self, connection: UpstreamConnection) -> None:
        current = self._tls.current()
        if not connection.usable:
            return
        if len(self._idle) >= MAX_IDLE or self._connections.get(connection) is not current:
            connection.usable = False
            connection.transport.loseConnection()
            return
        connection.idle_since = self._reactor.seconds()
        self._idle.append(connection)

    def _lost(self, connection: UpstreamConnection) -> None:
        self._connections.pop(connection, None)
        if connection in self._idle:
            self._idle.remove(connection)

    def close_idle(self, before: float | None = None) -> None:
        """Close idle connections, all or those unused since ``before`` (reactor seconds)."""
        for connection in list(self._idle):
            if before is None or connection.idle_since <= before:
                self._idle.remove(connection)
                connection.usable = False
                connection.transport.loseConnection()
        if self.shared is not None:
            self.shared.close_idle(before)

    def replace(self, bound: float) -> None:
        """The identity has new files: end what uses the old, busy ones after their response or ``bound``."""
        self.close_idle()
        current = self._tls.current()
        old = [connection for connection, used in self._connections.items() if used is not current]
        self._ends.call(bound, self._abort, old)
        if self.shared is not None:
            self.shared.replace(bound)

    def _abort(self, connections: Sequence[UpstreamConnection]) -> None:
        for connection in connections:
            if connection in self._connections:
                connection.transport.abortConnection()

    def abort(self) -> None:
        """Drop every connection."""
        self._idle.clear()
        self._ends.call_off()
        self._abort(list(self._connections))
        if self.shared is not None:
            self.shared.abort()
