"""The server side: connections that read requests and give each to a handler."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.web.errors import MessageError
from superedge.web.h1 import End, RequestReader, Switched, chunk, last_chunk
from superedge.web.heads import PHRASES, RESPONSE_HEAD, Headers, RequestHead, header_lines, response_head
from superedge.web.silence import Patience, Silence

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_log = Logger()


class RequestReceiver(Protocol):
    """Who takes a request's body and hears of its end."""

    def body(self, data: bytes) -> None:
        """A piece of the request's body."""

    def body_end(self, trailers: Headers) -> None:
        """The request is complete."""

    def client_lost(self) -> None:
        """The client is gone; nothing more can be sent."""


class Request:
    """One request and its response. The response is sent with `start`, `write` and `finish`."""

    __slots__ = (
        "_buffer",
        "_chunked",
        "_connection",
        "_pending",
        "_producer",
        "finished",
        "has_body",
        "head",
        "receiver",
        "started",
    )

    def __init__(self, connection: ServerConnection, head: RequestHead) -> None:
        self._connection = connection
        self.head = head
        self.receiver: RequestReceiver | None = None
        self.started = False
        self.finished = False
        self._chunked = False
        self._producer = False
        self._buffer: list[bytes] = []
        # Body events that came before there was a receiver.
        self._pending: list[bytes | End] = []

    @property
    def transport(self) -> Any:
        """The client's transport."""
        return self._connection.transport

    def receive(self, receiver: RequestReceiver) -> None:
        """Give the body, what came of it and what will come, to ``receiver``."""
        self.receiver = receiver
        pending, self._pending = self._pending, []
        for event in pending:
            self._deliver(event)

    def _deliver(self, event: bytes | End) -> None:
        receiver = self.receiver
        if receiver is None:
            self._pending.append(event)
        elif type(event) is bytes:
            receiver.body(event)
        elif type(event) is End:
            receiver.body_end(event.trailers)

    # -- the request's body as a producer, for whom its pieces are sent on to

    def pauseProducing(self) -> None:
        """Read no more of the body: what the client sends waits in its socket."""
        self._connection.hold(True)

    def resumeProducing(self) -> None:
        """Read on."""
        self._connection.hold(False)

    def stopProducing(self) -> None:
        """Nobody takes the body any more: the rest is read and dropped."""
        self._connection.hold(False)

    # -- the response

    def last(self) -> None:
        """End the connection after this response; to be called before it is started."""
        self._connection.close_after = True

    def interim(self, head: bytes) -> None:
        """Send an informational response (1xx), whole."""
        self.transport.write(head)

    def start(self, status: int, reason: bytes, headers: Headers, bounded: bool) -> None:
        """Begin the response; nothing leaves before `flush`.

        ``headers`` hold the body's length, unless ``bounded`` is false: then the body is chunked, or ends
        with the connection for HTTP/1.0.
        """
        self.start_lines(status, reason, header_lines(headers), bounded)

    def start_lines(self, status: int, reason: bytes, lines: bytes, bounded: bool) -> None:
        """As `start`, with the headers as they stand on the wire."""
        self.started = True
        connection = self._connection
        if not bounded:
            if self.head.version == "1.1":
                self._chunked = True
                lines += b"Transfer-Encoding: chunked\r\n"
            else:
                connection.close_after = True
        if connection.close_after or not self.head.keep_alive:
            connection.close_after = True
            lines += b"Connection: close\r\n"
        elif self.head.version == "1.0":
            lines += b"Connection: keep-alive\r\n"
        self._buffer.append(RESPONSE_HEAD % (status, reason, lines))

    def write(self, pieces: list[bytes]) -> None:
        """Add to the body; nothing leaves before `flush`."""
        self._buffer += chunk(pieces) if self._chunked else pieces

    def flush(self) -> None:
        """Send what was added."""
        if self._buffer:
            self._connection.send(self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer))
            self._buffer.clear()

    def finish(self, trailers: Headers | None = None) -> None:
        """End the response and send it."""
        if self._chunked:
            self._buffer.append(last_chunk(trailers or []))
        self.flush()
        self._done()

    def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole response."""
        if status != 304:  # which has no body, whatever a length would say
            headers.append((b"Content-Length", b"%d" % len(body)))
        self.start(status, PHRASES[status], headers, True)
        if body and self.head.method != b"HEAD":
            self.write([body])
        self.finish()

    def abort(self) -> None:
        """Break off: a client that got part of the response must not take it for whole."""
        self._buffer.clear()
        self.transport.abortConnection()

    def throttle(self, producer: Any) -> None:
        """Pause ``producer``, where the response comes from, while the client does not read."""
        if not self._producer and not self.finished:
            self._producer = True
            self.transport.registerProducer(producer, True)

    def _done(self) -> None:
        self.finished = True
        self.receiver = None  # who holds this request, too
        if self._producer:
            self._producer = False
            self.transport.unregisterProducer()
        self._connection.request_done(self)

    def hijack(self, head: bytes) -> bytes:
        """Send the head of a 101 and leave HTTP; what the client sent after its request."""
        self.started = self.finished = True
        return self._connection.switch(head)


@implementer(IHalfCloseableProtocol)
class ServerConnection(TwistedProtocol):
    """Reads requests; the next is handled once the response before it is complete."""

    transport: Any

    def __init__(self, handler: Callable[[Request], None], connections: set[ServerConnection]) -> None:
        self._handler = handler
        self._connections = connections
        self._reader = RequestReader()
        self._waiting: deque[RequestHead | bytes | End | Switched] = deque()
        self._request: Request | None = None
        self._request_complete = True
        self._switched: list[bytes] | None = None
        self._handling = False
        self._paused = False
        self._held = False
        self._silence = Silence()
        self.close_after = False
        self.send: Callable[[bytes], None] = self._not_connected
        """Sends in this round of the reactor."""

    def _not_connected(self, data: bytes) -> None:
        raise AssertionError("not connected")

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self._request is None

    def connectionMade(self) -> None:
        """Count the connection."""
        self._connections.add(self)
        self.send = getattr(self.transport, "write_soon", self.transport.write)

    def dataReceived(self, data: bytes) -> None:
        """Read requests."""
        if self._switched is not None:
            self._switched.append(data)
            return
        try:
            events = self._reader.feed(data)
        except MessageError as problem:
            self._refuse(problem)
            return
        if events:
            self._silence.broken()
        elif self._request is None:
            self._silence.head_begun()
        if self._waiting:
            self._waiting.extend(events)
            return
        for number, event in enumerate(events):
            if type(event) is RequestHead and self._request is not None:
                # Pipelined: read no more than this until it is its turn.
                self._waiting.extend(events[number:])
                self._paused = True
                self.transport.pauseProducing()
                return
            self._event(event)

    def hold(self, held: bool) -> None:
        """Stop or go on reading the body of the request under way."""
        self._held = held
        if held:
            self.transport.pauseProducing()
        elif not self._paused:
            self.transport.resumeProducing()

    def _event(self, event: RequestHead | bytes | End | Switched) -> None:
        if type(event) is RequestHead:
            self._request_complete = False
            request = self._request = Request(self, event)
            if event.upgrade:
                self._switched = []
            self._handle(request)
        elif type(event) is Switched:
            self._switched = [event.rest] if event.rest else []
        elif type(event) is bytes or type(event) is End:
            if type(event) is End:
                self._request_complete = True
            if self._request is not None and not self._request.finished:
                self._request._deliver(event)
            else:  # it was answered before its end, which is read and dropped
                self._settle()

    def _handle(self, request: Request) -> None:
        try:
            self._handler(request)
        except Exception:
            _log.failure("request failed")
            if request.started:
                request.abort()
            elif not request.finished:
                self.close_after = True
                request.respond(500, [])

    def request_done(self, request: Request) -> None:
        """The response is sent; go on once the request is read to its end, too."""
        if self._held:
            self.hold(False)
        if self._switched is not None:
            self.close_after = True  # it asked to switch and was answered otherwise: where it ends is unknown
        if self.close_after:
            self._request = None
            self.transport.loseConnection()
            return
        self._settle()

    def _settle(self) -> None:
        if self._handling:
            return
        self._handling = True
        try:
            while self._request is not None and self._request.finished and self._request_complete:
                self._request = None
                if self._waiting or self._paused:
                    self._take_waiting()
        finally:
            self._handling = False

    def _take_waiting(self) -> None:
        waiting = self._waiting
        while waiting and not (type(waiting[0]) is RequestHead and self._request is not None):
            self._event(waiting.popleft())
        if self._paused and not waiting:
            self._paused = False
            if not self._held:
                self.transport.resumeProducing()

    def _refuse(self, problem: MessageError) -> None:
        request = self._request
        if request is not None and not request.finished:
            # Garbage behind a request that is being answered, or in its body.
            self._abandon()
            self.transport.abortConnection()
            return
        self._request = None
        body = str(problem).encode() + b"\n"
        headers = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(body)),
            (b"Connection", b"close"),
        ]
        self.transport.write(response_head(problem.code, PHRASES[problem.code], headers) + body)
        self.transport.loseConnection()

    def look(self, patience: Patience) -> None:
        """Called at regular times: end the connection when its client is silent for too long."""
        request = self._request
        if request is None or request.finished:
            if self._silence.between_requests(patience):
                self.transport.loseConnection()
            return
        body_due = not (self._request_complete or self._held or self._paused or self._switched is not None)
        unsent = getattr(self.transport, "unsent", int)()
        if self._silence.within_request(body_due, unsent, patience):
            self.transport.abortConnection()

    def switch(self, head: bytes) -> bytes:
        """Send the head of a 101; the connection is the caller's from here on."""
        self._connections.discard(self)
        self._request = None
        rest = b"".join(self._switched or ())
        self.transport.write(head)
        return rest

    def readConnectionLost(self) -> None:
        """A client that sends no more waits for no answer either, as API clients go."""
        if self._request is None:
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """Nobody half-closes here."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the request under way."""
        self._connections.discard(self)
        self._abandon()

    def _abandon(self) -> None:
        request, self._request = self._request, None
        if request is not None and not request.finished:
            request.finished = True
            if request.receiver is not None:
                request.receiver.client_lost()


class ServerFactory(Factory):
    """Builds a connection for each client; ``connections`` are those that live."""

    noisy = False

    def __init__(self, handler: Callable[[Request], None]) -> None:
        self._handler = handler
        self.connections: set[ServerConnection] = set()

    def buildProtocol(self, addr: Any) -> ServerConnection:
        """Called by Twisted."""
        return ServerConnection(self._handler, self.connections)

    def look(self, patience: Patience) -> None:
        """End connections whose clients are silent, see `silence.watch_clients`."""
        for connection in list(self.connections):
            connection.look(patience)

    def close_idle(self) -> None:
        """Ask every connection to end: at once when idle, else after its response."""
        for connection in list(self.connections):
            connection.close_after = True
            if connection.idle:
                connection.transport.loseConnection()

    def abort(self, connections: Iterable[ServerConnection] | None = None) -> None:
        """Drop what is still there."""
        for connection in list(self.connections if connections is None else connections):
            connection.transport.abortConnection()
