"""One request that a server received, and its response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from superedge.web.h1 import End, chunk, last_chunk
from superedge.web.heads import PHRASES, RESPONSE_HEAD, Headers, RequestHead, header_lines


class RequestConnection(Protocol):
    """The connection that a request came over."""

    transport: Any
    send: Callable[[bytes], None]
    """Write in this iteration of the reactor."""
    close_after: bool
    """Whether the connection ends after the current response."""

    def hold(self, held: bool) -> None:
        """Pause or resume reading the body of the current request."""

    def request_done(self, request: Request) -> None:
        """The response has been sent."""

    def switch(self, head: bytes) -> bytes:
        """Send the head of a 101 and leave HTTP. Returns what the client sent after its request."""


MAX_PENDING = 64 * 1024
"""Bytes of a body that are read before something takes them; then reading pauses."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RequestReceiver(Protocol):
    """Takes a request's body."""

    def body(self, data: bytes) -> None:
        """Take part of the request's body."""

    def body_end(self, trailers: Headers) -> None:
        """The request is complete."""

    def client_lost(self) -> None:
        """The client closed the connection: nothing more can be sent."""


class Request:
    """One request and its response, which `start`, `write` and `finish` send."""

    __slots__ = (
        "_buffer",
        "_chunked",
        "_connection",
        "_pending",
        "_pending_size",
        "_producer",
        "finished",
        "has_body",
        "head",
        "receiver",
        "started",
    )

    def __init__(self, connection: RequestConnection, head: RequestHead) -> None:
        self._connection = connection
        self.head = head
        self.receiver: RequestReceiver | None = None
        self.started = False
        self.finished = False
        self._chunked = False
        self._producer = False
        self._buffer: list[bytes] = []
        # Events of the body that arrived before `receive` was called.
        self._pending: list[bytes | End] = []
        self._pending_size = 0

    @property
    def transport(self) -> Any:
        """The client's transport."""
        return self._connection.transport

    def receive(self, receiver: RequestReceiver) -> None:
        """Deliver the body to ``receiver``, including what arrived before this call."""
        self.receiver = receiver
        pending, self._pending = self._pending, []
        if self._pending_size > MAX_PENDING:
            self._connection.hold(False)
        self._pending_size = 0
        for event in pending:
            self._deliver(event)

    def _deliver(self, event: bytes | End) -> None:
        receiver = self.receiver
        if receiver is None:
            self._pending.append(event)
            if type(event) is bytes:
                self._pending_size += len(event)
                if self._pending_size > MAX_PENDING:
                    self._connection.hold(True)
        elif type(event) is bytes:
            receiver.body(event)
        elif type(event) is End:
            receiver.body_end(event.trailers)

    # -- IPushProducer of the request's body

    def pauseProducing(self) -> None:
        """Stop reading the body; the client's bytes wait in the socket."""
        self._connection.hold(True)

    def resumeProducing(self) -> None:
        """Resume reading the body."""
        self._connection.hold(False)

    def stopProducing(self) -> None:
        """Resume reading the body, and discard it."""
        self._connection.hold(False)

    # -- the response

    def close_after(self) -> None:
        """Close the connection after this response. Call it before `start`."""
        self._connection.close_after = True

    def interim(self, head: bytes) -> None:
        """Send the complete head of an informational response (1xx)."""
        self.transport.write(head)

    def start(self, status: int, reason: bytes, headers: Headers, bounded: bool) -> None:
        """Begin the response. Nothing is sent before `flush`.

        With ``bounded``, ``headers`` contain the body's length. Otherwise the body is chunked, or with
        HTTP/1.0 ends with the connection.
        """
        self.start_lines(status, reason, header_lines(headers), bounded)

    def start_lines(self, status: int, reason: bytes, lines: bytes, bounded: bool) -> None:
        """As `start`, with the headers encoded as lines."""
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

    def write(self, data: list[bytes]) -> None:
        """Add to the body. Nothing is sent before `flush`."""
        self._buffer += chunk(data) if self._chunked else data

    def flush(self) -> None:
        """Send what `start` and `write` added."""
        if self._buffer:
            self._connection.send(self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer))
            self._buffer.clear()

    def finish(self, trailers: Headers | None = None) -> None:
        """Complete the response and send it."""
        if self._chunked:
            self._buffer.append(last_chunk(trailers or []))
        self.flush()
        self._done()

    def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a complete response."""
        if status != 304:  # it has no body, so a length of 0 would be wrong
            headers.append((b"Content-Length", b"%d" % len(body)))
        self.start(status, PHRASES[status], headers, True)
        if body and self.head.method != b"HEAD":
            self.write([body])
        self.finish()

    def abort(self) -> None:
        """Abort the connection, so that the client does not take a partial response for a complete one."""
        self._buffer.clear()
        self.transport.abortConnection()

    def throttle(self, producer: Any) -> None:
        """Pause ``producer``, which produces the response's body, while the client does not read."""
        if not self._producer and not self.finished:
            self._producer = True
            self.transport.registerProducer(producer, True)

    def _done(self) -> None:
        self.finished = True
        self.receiver = None  # breaks the reference cycle with the receiver
        self._unthrottle()
        self._connection.request_done(self)

    def _unthrottle(self) -> None:
        if self._producer:
            self._producer = False
            self.transport.unregisterProducer()

    def hijack(self, head: bytes) -> bytes:
        """Send the head of a 101 and leave HTTP. Returns what the client sent after its request."""
        self.started = self.finished = True
        self._unthrottle()
        return self._connection.switch(head)
