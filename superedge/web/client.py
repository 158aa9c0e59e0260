"""A client's HTTP/1.1 connection: one request at a time, its response in events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.net.silence import tcp_socket
from superedge.web.channels import ResponseReceiver
from superedge.web.errors import MessageError
from superedge.web.h1 import End, Switched, chunk, last_chunk
from superedge.web.heads import Headers, OutgoingRequest, ResponseHead
from superedge.web.responses import ResponseReader


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

    def give_up(self, reason: str) -> None:
        """The way to the server is taken for dead: who waits is told, and may ask again."""
        self.used = True
        self._broken(reason)

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
                if event is not events[-1] or not self._reader.between:
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
            # The reader takes an informational head for a whole message.
            self._interim = True

    def _hand_over(self, receiver: ResponseReceiver, rest: bytes) -> None:
        self._receiver = None
        self.usable = False
        if tcp_socket(self.transport) is not None:
            self.transport.give_up_after(
                0
            )  # another protocol's peer may leave bytes unread as long as it likes
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
