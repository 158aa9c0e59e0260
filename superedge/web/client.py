"""An HTTP/1.1 client connection: one request at a time, its response to a `ResponseReceiver`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.net.liveness import tcp_socket
from superedge.web.channels import ResponseReceiver
from superedge.web.errors import MessageError
from superedge.web.h1 import End, Switched, chunk, last_chunk
from superedge.web.heads import Headers, OutgoingRequest, ResponseHead
from superedge.web.responses import ResponseReader


@implementer(IHalfCloseableProtocol)
class H1Connection(TwistedProtocol):
    """An `UpstreamChannel` that is one connection; `request` may be called while it is idle."""

    transport: Any

    def __init__(self, released: Callable[[H1Connection], None]) -> None:
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
        """Whether it has had a response before."""
        self.usable = True
        self.idle_since = 0.0
        self.lost: Callable[[H1Connection], None] | None = None
        self._send_soon: Callable[[bytes], None]

    def connectionMade(self) -> None:
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
        return self.transport

    def begin(self, request: OutgoingRequest, receiver: ResponseReceiver) -> None:
        """Send a request's head."""
        self._chunked = request.chunked
        self.request(request.head, request.method == b"HEAD", not request.has_body, receiver)

    def body_from(self, producer: Any) -> None:
        """Pause ``producer`` while the server takes no more."""
        self.transport.registerProducer(producer, True)

    def send(self, data: bytes) -> None:
        self.transport.writeSequence(chunk([data]) if self._chunked else [data])

    def end(self, trailers: Headers) -> None:
        if self._chunked:
            self.transport.write(last_chunk(trailers))
        self.transport.unregisterProducer()
        self.request_sent()

    def give_up_body(self) -> None:
        """Close the connection: the response came before the server read the whole request."""
        self.transport.unregisterProducer()
        self.usable = False
        self.transport.loseConnection()

    def request_sent(self) -> None:
        """The request's body has been written completely."""
        self._request_complete = True
        if self._response_complete:
            self._release()

    def give_up(self, reason: str) -> None:
        """Abort the connection, whose path is taken for dead; the receiver may retry the request."""
        self.used = True
        self._broken(reason)

    def abandon(self) -> None:
        self._receiver = None
        self.usable = False
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Read the response."""
        receiver = self._receiver
        if receiver is None:
            # No request is outstanding: an unsolicited 408 or the like before the server closes.
            self.usable = False
            self.transport.loseConnection()
            return
        try:
            events = self._reader.feed(data)
        except MessageError as problem:
            self._broken(str(problem))
            return
        chunks: list[bytes] = []
        remaining = iter(events)
        for event in remaining:
            if type(event) is bytes:
                chunks.append(event)
            elif type(event) is ResponseHead:
                self._begun(event, receiver)
            elif type(event) is End:
                if self._switching:
                    continue
                if self._interim:
                    self._interim = False
                    continue
                if chunks:
                    receiver.data(chunks)
                    chunks = []
                    if self._receiver is not receiver:
                        break  # it cancelled the request
                if next(remaining, None) is not None or not self._reader.idle:
                    self._keep_alive = False  # a response without a request
                self._complete(receiver, event.trailers)
            elif type(event) is Switched:
                self._hand_over(receiver, event.rest)
                return
            if self._receiver is not receiver:
                break  # it cancelled the request
        if self._switching and self._receiver is receiver:
            self._hand_over(receiver, b"")
            return
        if chunks and self._receiver is receiver:
            receiver.data(chunks)
        receiver.read_complete()

    def _begun(self, head: ResponseHead, receiver: ResponseReceiver) -> None:
        self._switching = head.status == 101
        if head.status >= 200:
            self._unbounded = not head.bounded
            self._keep_alive = head.keep_alive and head.bounded
        receiver.response(head)
        if head.status < 200 and not self._switching:
            # The reader reports an informational head as a complete message.
            self._interim = True

    def _hand_over(self, receiver: ResponseReceiver, rest: bytes) -> None:
        self._receiver = None
        self.usable = False
        if tcp_socket(self.transport) is not None:
            # Another protocol's peer may leave bytes unread for any time.
            self.transport.give_up_after(0)
        receiver.switched(self, rest)

    def _complete(self, receiver: ResponseReceiver, trailers: Headers) -> None:
        self._response_complete = True
        self._receiver = None
        self.used = True
        receiver.complete(trailers)
        if self._request_complete:
            self._release()
        # else: the response came before the request was sent, see request_sent

    def _release(self) -> None:
        if self._keep_alive:
            self.transport.resumeProducing()  # who received the response may have paused it at the last bytes
        else:
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
        """End a body that has no length: the server half-closed the connection (RFC 9112 section 6.3)."""
        self.usable = False
        receiver = self._receiver
        if receiver is not None and self._unbounded:
            self._keep_alive = False
            self._request_complete = True
            self._complete(receiver, [])
            receiver.read_complete()
            return
        self._broken("the server closed the connection")

    def writeConnectionLost(self) -> None:
        """Required by IHalfCloseableProtocol; this end never half-closes."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the pool and the receiver."""
        self.usable = False
        receiver, self._receiver = self._receiver, None
        if self.lost is not None:
            self.lost(self)
        if receiver is not None:
            text = getattr(self.transport, "failure_text", None)
            receiver.failed(text or "the connection was lost")
