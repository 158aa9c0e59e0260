"""An HTTP/1.1 server: its connections parse requests and pass each to a handler."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.web.errors import MessageError
from superedge.web.h1 import End, RequestReader, Switched
from superedge.web.heads import PHRASES, RequestHead, response_head
from superedge.web.idle import IdleCounter, IdleLimits
from superedge.web.serverrequest import Request

_log = Logger()


@implementer(IHalfCloseableProtocol)
class ServerConnection(TwistedProtocol):
    """Handles one request at a time: a pipelined one waits until the response before it is complete."""

    transport: Any

    def __init__(self, handler: Callable[[Request], None], connections: set[ServerConnection]) -> None:
        self._handler = handler
        self._connections = connections
        self._reader = RequestReader()
        self._waiting: deque[RequestHead | bytes | End | Switched] = deque()
        self._request: Request | None = None
        self._request_complete = True
        self._switched: list[bytes] | None = None
        """What came after a request to switch protocols."""
        self._handling = False
        self._paused = False
        self._held = False
        self._idle_counter = IdleCounter()
        self.close_after = False
        self.send: Callable[[bytes], None] = self._not_connected
        """Write in this iteration of the reactor."""

    def _not_connected(self, data: bytes) -> None:
        raise AssertionError("not connected")

    @property
    def idle(self) -> bool:
        """Whether no request is in progress."""
        return self._request is None

    def connectionMade(self) -> None:
        """Register the connection with its factory."""
        self._connections.add(self)
        self.send = getattr(self.transport, "write_soon", self.transport.write)

    def dataReceived(self, data: bytes) -> None:
        """Read requests."""
        if self._switched is not None:
            self._switched.append(data)
            self._paused = True  # until the server switches, the other protocol's bytes wait in the socket
            self.transport.pauseProducing()
            return
        try:
            events = self._reader.feed(data)
        except MessageError as problem:
            self._refuse(problem)
            return
        if events and not (self._request is not None and self._request.finished):
            self._idle_counter.heard()  # the rest of a request that is answered keeps no connection open
        elif self._request is None:
            self._idle_counter.head_begun()
        if self._waiting:
            self._waiting.extend(events)
            return
        for number, event in enumerate(events):
            if type(event) is RequestHead and self._request is not None:
                # Pipelined: stop reading until the current request is done.
                self._waiting.extend(events[number:])
                self._paused = True
                self.transport.pauseProducing()
                return
            self._event(event)

    def hold(self, held: bool) -> None:
        """Pause or resume reading the body of the current request."""
        self._held = held
        if held:
            self.transport.pauseProducing()
        elif not self._paused:
            self.transport.resumeProducing()

    def _event(self, event: RequestHead | bytes | End | Switched) -> None:
        if type(event) is RequestHead:
            if self.close_after:
                return  # it came after the last request, whose response says so
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
            current = self._request
            if current is not None and not current.finished:
                current._deliver(event)
                if self._held and self._request_complete and current.receiver is not None:
                    self.hold(False)  # no more body can come, and a client that leaves is noticed
            else:  # the response is complete already: discard the rest of the request
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
        """The response has been sent. Proceed to the next request once this one has been read completely."""
        if self._held:
            self.hold(False)
        if self._switched is not None:
            self.close_after = True  # it asked to switch and was not switched: its end is unknown
        if self.close_after:
            if not self._awaits_rest(request):
                self._close()
                return
            self._idle_counter.last_response_sent()
        self._settle()

    def _awaits_rest(self, request: Request) -> bool:
        """Whether the client is sending the rest of its request: it may read the response only after that.

        Closing a socket that receives more resets the connection, which may destroy the response.
        """
        asks_first = any(name.lower() == b"expect" for name, _ in request.head.headers)
        return not (self._request_complete or self._switched is not None or asks_first)

    def _close(self) -> None:
        self._request = None
        self.transport.loseConnection()

    def _settle(self) -> None:
        if self._handling:
            return
        self._handling = True
        try:
            while self._request is not None and self._request.finished and self._request_complete:
                if self.close_after:
                    self._close()
                    return
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
            # The fault is in the body of the current request or after it.
            self._abandon()
            self.transport.abortConnection()
            return
        if request is not None:
            self._close()  # the fault is in the rest of a request that has its response
            return
        body = str(problem).encode() + b"\n"
        headers = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(body)),
            (b"Connection", b"close"),
        ]
        self.transport.write(response_head(problem.code, PHRASES[problem.code], headers) + body)
        self.transport.loseConnection()

    def check_idle(self, limits: IdleLimits) -> None:
        """Close the connection when its client has been idle for too long. Called periodically."""
        request = self._request
        if request is None or request.finished:
            if self._idle_counter.between_requests(limits):
                self.transport.loseConnection()
            return
        body_due = not (self._request_complete or self._held or self._paused or self._switched is not None)
        unsent = getattr(self.transport, "unsent", int)()
        if self._idle_counter.within_request(body_due, unsent, limits):
            self.transport.abortConnection()

    def switch(self, head: bytes) -> bytes:
        """Send the head of a 101 and give up the connection. Returns what the client sent after it."""
        self._connections.discard(self)
        self._request = None
        rest = b"".join(self._switched or ())
        if self._paused:
            self.transport.resumeProducing()
        self.transport.write(head)
        return rest

    def readConnectionLost(self) -> None:
        """Treat a half close as the end: no API client waits for a response after it."""
        if self._request is None or self._request.finished:
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """Required by IHalfCloseableProtocol; this end never half-closes."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the current request."""
        self._connections.discard(self)
        self._abandon()

    def _abandon(self) -> None:
        request, self._request = self._request, None
        if request is not None and not request.finished:
            request.finished = True
            if request.receiver is not None:
                request.receiver.client_lost()


class ServerFactory(Factory):
    """Builds a connection for each client; ``connections`` are the open ones."""

    noisy = False

    def __init__(self, handler: Callable[[Request], None]) -> None:
        self._handler = handler
        self.connections: set[ServerConnection] = set()

    def buildProtocol(self, addr: Any) -> ServerConnection:
        return ServerConnection(self._handler, self.connections)

    def check_idle(self, limits: IdleLimits) -> None:
        """Close connections that exceed the limits, see `superedge.web.idle`."""
        for connection in list(self.connections):
            connection.check_idle(limits)

    def close_idle(self) -> None:
        """Close every connection: at once when idle, else after its response."""
        for connection in list(self.connections):
            connection.close_after = True
            if connection.idle:
                connection.transport.loseConnection()

    def abort(self, connections: Iterable[ServerConnection] | None = None) -> None:
        """Abort the given connections, or all."""
        for connection in list(self.connections if connections is None else connections):
            connection.transport.abortConnection()
