"""An HTTP/2 server for tests, with the library `h2`: requests as `superedge.web.server` gives them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from superedge.web.heads import HOP_BY_HOP, Headers, RequestHead
from superedge.web.server import ServerFactory

QUEUE = 64 * 1024


class H2Request:
    """One stream; does what `superedge.web.server.Request` does."""

    def __init__(self, connection: H2ServerConnection, number: int, headers: Headers) -> None:
        self._connection = connection
        self.number = number
        pseudo = {name: value for name, value in headers if name.startswith(b":")}
        kept = [(name.title(), value) for name, value in headers if not name.startswith(b":")]
        kept.insert(0, (b"Host", pseudo[b":authority"]))
        self.head = RequestHead(pseudo[b":method"], pseudo[b":path"], "2", kept, True, False)
        self.finished = False
        self.started = False
        self.trailers: Headers = []
        self._receiver: Any = None
        self._pending: list[bytes | Headers] = []
        self._queue: deque[bytes] = deque()
        self._trailers: Headers | None = None
        self._producer: Any = None
        self._paused = False

    @property
    def transport(self) -> Any:
        return self._connection.transport

    def receive(self, receiver: Any) -> None:
        self._receiver = receiver
        pending, self._pending = self._pending, []
        for event in pending:
            self.deliver(event)

    def deliver(self, event: bytes | Headers) -> None:
        if self._receiver is None:
            self._pending.append(event)
        elif isinstance(event, bytes):
            self._receiver.body(event)
        else:
            self._receiver.body_end(event)

    def interim(self, head: bytes) -> None:
        status = head.split(b" ", 2)[1]
        self._connection.h2.send_headers(self.number, [(b":status", status)])
        self._connection.flush()

    def start(self, status: int, reason: bytes, headers: Headers, bounded: bool) -> None:
        self.started = True
        kept = [(name.lower(), value) for name, value in headers if name.lower() not in HOP_BY_HOP]
        self._connection.h2.send_headers(self.number, [(b":status", b"%d" % status), *kept])

    def write(self, chunks: list[bytes]) -> None:
        self._queue.extend(piece for piece in chunks if piece)

    def flush(self) -> None:
        self._connection.flush()

    def finish(self, trailers: Headers | None = None) -> None:
        self._trailers = [(name.lower(), value) for name, value in trailers or []]
        self.finished = True
        self._connection.flush()

    def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        self.start(status, b"", [*headers, (b"content-length", b"%d" % len(body))], True)
        if self.head.method != b"HEAD":
            self.write([body])
        self.finish()

    def abort(self) -> None:
        self._connection.h2.reset_stream(self.number, ErrorCodes.INTERNAL_ERROR)
        self._connection.flush()

    def refuse(self) -> None:
        self._connection.h2.reset_stream(self.number, ErrorCodes.REFUSED_STREAM)
        self._connection.flush()

    def throttle(self, producer: Any) -> None:
        self._producer = producer

    def lost(self) -> None:
        if self._receiver is not None and not self.finished:
            self.finished = True
            self._receiver.client_lost()

    def pump(self, h2: H2Connection) -> bool:
        """Send what there is credit for; whether the response is over."""
        while self._queue:
            piece = self._queue.popleft()
            size = min(h2.local_flow_control_window(self.number), h2.max_outbound_frame_size, len(piece))
            if size <= 0:
                self._queue.appendleft(piece)
                break
            h2.send_data(self.number, piece[:size])
            if size < len(piece):
                self._queue.appendleft(piece[size:])
        self._hold(sum(map(len, self._queue)) > QUEUE)
        if self._queue or self._trailers is None:
            return False
        if self._trailers:
            h2.send_headers(self.number, self._trailers, end_stream=True)
        else:
            h2.end_stream(self.number)
        return True

    def _hold(self, held: bool) -> None:
        if self._producer is not None and held != self._paused:
            self._paused = held
            self._producer.pauseProducing() if held else self._producer.resumeProducing()


class H2ServerConnection(Protocol):
    """One client; ``largest`` is how many streams it may have."""

    transport: Any

    def __init__(self, handler: Callable[[Any], None], connections: set[Any], largest: int) -> None:
        self._handler = handler
        self._connections = connections
        self._largest = largest
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.requests: dict[int, H2Request] = {}

    def connectionMade(self) -> None:
        self._connections.add(self)
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: self._largest})
        self.h2.increment_flow_control_window(1 << 24)
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        try:
            for event in self.h2.receive_data(data):
                self._event(event)
        except ProtocolError:
            self.transport.write(self.h2.data_to_send())
            self.transport.loseConnection()
            return
        self.flush()

    def _event(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            request = H2Request(self, event.stream_id, [(bytes(n), bytes(v)) for n, v in event.headers])
            self.requests[event.stream_id] = request
            self._handler(request)
        elif isinstance(event, DataReceived):
            self.requests[event.stream_id].deliver(event.data)
            if event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, TrailersReceived):
            self.requests[event.stream_id].trailers = [(bytes(n), bytes(v)) for n, v in event.headers]
        elif isinstance(event, StreamEnded) and event.stream_id in self.requests:
            request = self.requests[event.stream_id]
            request.deliver(request.trailers)
        elif isinstance(event, StreamReset):
            request_ = self.requests.pop(event.stream_id, None)
            if request_ is not None:
                request_.lost()
        elif isinstance(event, ConnectionTerminated):
            self.transport.loseConnection()

    def flush(self) -> None:
        for number, request in list(self.requests.items()):
            try:
                over = request.pump(self.h2)
            except StreamClosedError:
                over = True
            if over:
                del self.requests[number]
        data = self.h2.data_to_send()
        if data and self.transport.connected:
            self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connections.discard(self)
        for request in self.requests.values():
            request.lost()


class _Chooser(Protocol):
    transport: Any

    def __init__(self, factory: BothFactory) -> None:
        self._factory = factory

    def connectionMade(self) -> None:
        factory, transport = self._factory, self.transport
        if factory.stopped:
            transport.abortConnection()
            return
        factory.chosen.append(transport.alpn or "")
        if transport.alpn == "h2":
            protocol: Any = factory.instead()
        else:
            protocol = factory.plain.buildProtocol(transport.getPeer())
        transport.protocol = protocol
        protocol.makeConnection(transport)


class BothFactory(Factory):
    """Speaks what the client and the TLS context agree on; ``chosen`` has a word for each connection."""

    noisy = False

    def __init__(self, handler: Callable[[Any], None]) -> None:
        self.handler = handler
        self.plain = ServerFactory(handler)
        self.shared: set[H2ServerConnection] = set()
        self.chosen: list[str] = []
        self.largest = 100
        self.stopped = False
        """Whether it drops connections, as those whose handshake ends after the server's end."""

    def instead(self) -> Any:
        """What speaks HTTP/2; a test may put something else in its place."""
        return H2ServerConnection(self.handler, self.shared, self.largest)

    def buildProtocol(self, addr: Any) -> Any:
        return _Chooser(self)

    def abort(self) -> None:
        self.plain.abort()
        for connection in list(self.shared):
            connection.transport.abortConnection()
