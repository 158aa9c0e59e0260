"""The Twisted protocol of an HTTP/2 client connection, around `superedge.web.h2session`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.interfaces import IReactor
from superedge.net.errors import ConnectError
from superedge.reactor.periodic import PeriodicCall
from superedge.web.channels import ResponseReceiver
from superedge.web.h1 import End
from superedge.web.h2frames import Code
from superedge.web.h2session import Event, Failed, H2Session
from superedge.web.h2stream import H2Stream
from superedge.web.heads import Headers, OutgoingRequest, ResponseHead

TICK = 1.0
BODY_LIMIT = 256 * 1024
"""Bytes of a request's body that wait for the server's window before their producer is paused."""
MAX_UNSENT = 4 * 1024 * 1024
"""Bytes that may wait for a server that does not read; more are answers to frames that it floods."""

_log = Logger()


class H2Channel:
    """An `UpstreamChannel` that is a stream of a shared connection.

    It is also the producer of its response's body: pausing it stops this stream alone.
    """

    __slots__ = ("_body_producer", "_connection", "_held", "_receiver", "_stream", "used")

    def __init__(self, connection: H2Connection) -> None:
        self._connection = connection
        self._stream: H2Stream | None = None
        self._receiver: ResponseReceiver | None = None
        self._body_producer: Any = None
        self._held = False
        self.used = connection.session.responses > 0

    @property
    def producer(self) -> H2Channel:
        return self

    def begin(self, request: OutgoingRequest, receiver: ResponseReceiver) -> None:
        self._receiver = receiver
        self._connection.open(self, request)

    def opened(self, stream: H2Stream) -> None:
        """The session has opened the stream."""
        self._stream = stream

    def body_from(self, producer: Any) -> None:
        self._body_producer = producer

    def send(self, data: bytes) -> None:
        stream, session = self._stream, self._connection.session
        if stream is None:
            return
        session.send(stream, data)
        self._connection.flush()
        if stream.queued > BODY_LIMIT and self._body_producer is not None and not self._held:
            self._held = True
            self._connection.held.add(self)
            self._body_producer.pauseProducing()

    def end(self, trailers: Headers) -> None:
        if self._stream is not None:
            self._connection.session.end(self._stream, trailers)
            self._connection.flush()
        self._body_producer = None

    def credited(self) -> None:
        """The server's window may have grown: resume the body's producer if little is queued."""
        if self._stream is not None and self._stream.queued <= BODY_LIMIT // 2:
            self._go_on()

    def give_up_body(self) -> None:
        self._end(Code.NO_ERROR)

    def give_up(self, reason: str) -> None:
        """Fail the request, and probe the connection."""
        receiver = self._receiver
        self.used = True
        self._end(Code.CANCEL)
        self._connection.probe()
        if receiver is not None:
            receiver.failed(reason)

    def abandon(self) -> None:
        self._end(Code.CANCEL)

    def _end(self, code: Code) -> None:
        self._receiver = None
        stream, self._stream = self._stream, None
        self._go_on()
        self._body_producer = None
        if stream is not None:
            self._connection.session.reset(stream, code)
            self._connection.flush()
        else:
            self._connection.unused(self)

    def _go_on(self) -> None:
        if self._held:
            self._held = False
            self._connection.held.discard(self)
            if self._body_producer is not None:
                self._body_producer.resumeProducing()

    # -- IPushProducer of the response's body

    def pauseProducing(self) -> None:
        if self._stream is not None:
            self._connection.session.pause(self._stream)

    def resumeProducing(self) -> None:
        if self._stream is not None:
            self._connection.session.resume(self._stream)
            self._connection.flush()

    def stopProducing(self) -> None:
        """Required by IPushProducer; the caller cancels by `abandon`."""

    # -- called by the connection

    def deliver(self, event: Event) -> None:
        """Pass an event to the receiver, whose exceptions the caller logs."""
        receiver = self._receiver
        if receiver is None:
            return
        if isinstance(event, list):
            receiver.data(event)
        elif isinstance(event, ResponseHead):
            receiver.response(event)
        elif isinstance(event, End):
            receiver.complete(event.trailers)
            self._receiver = None
        else:
            self.used = self.used or event.unprocessed
            self._receiver = self._stream = None
            self._go_on()
            receiver.failed(event.reason)

    def read_complete(self) -> None:
        if self._receiver is not None:
            self._receiver.read_complete()


class H2Connection(Protocol):
    """One connection to a server. ``changed`` is called when its `room` begins or ends, or it is lost."""

    transport: Any

    def __init__(self, reactor: IReactor, changed: Callable[[H2Connection], None]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._reading = False
        self._congested = False
        self._closing = False
        self._reserved: set[H2Channel] = set()
        self._ticks = PeriodicCall(reactor, TICK, self._tick)
        self.session = H2Session(reactor.seconds())
        self.held: set[H2Channel] = set()
        """Streams whose body's producer is paused."""
        self.ready: Deferred[None] = Deferred()
        """Fires when the server's SETTINGS arrive. Fails with ConnectError."""
        self.lost = False
        self.idle_since = reactor.seconds()

    @property
    def room(self) -> int:
        """The number of streams that may be opened now."""
        return 0 if self._closing else self.session.room - len(self._reserved)

    @property
    def idle(self) -> bool:
        """Whether no request is in progress."""
        return not self.session.streams and not self._reserved

    def stream(self) -> H2Channel:
        """A new stream, to be used at once. Call it only when there is `room`."""
        stream = H2Channel(self)
        self._reserved.add(stream)
        return stream

    def open(self, stream: H2Channel, request: OutgoingRequest) -> None:
        """Open a stream's request. Called by the stream."""
        self._reserved.discard(stream)
        now, session = self._reactor.seconds(), self.session
        stream.opened(
            session.open(request.method, request.target, request.headers, request.has_body, stream, now)
        )
        if not self._ticks.running:
            self._ticks.start()
        self.flush()

    def unused(self, stream: H2Channel) -> None:
        """Release a reserved stream. Called by the stream."""
        self._reserved.discard(stream)

    def probe(self) -> None:
        """Send a PING now if requests are in progress."""
        if not self.idle and not self.lost:
            self.session.probe(self._reactor.seconds())
            self.flush()

    def drain(self) -> None:
        """Open no more streams, and close after those that are open."""
        self.session.draining = True
        self._settle()

    def abort(self) -> None:
        """Abort the connection."""
        self._closing = True
        self.transport.abortConnection()

    # -- IProtocol

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        """Deliver all events, then call `read_complete` on each stream that had one."""
        session = self.session
        room, settings_received = session.room, session.settings_received
        self._reading = True
        notified: dict[H2Channel, None] = {}
        for stream, event in session.receive(data, self._reactor.seconds()):
            owner = stream.owner
            assert isinstance(owner, H2Channel)
            notified[owner] = None
            self._guarded(owner, owner.deliver, event)
        for owner in notified:
            self._guarded(owner, owner.read_complete)
        self._reading = False
        if session.settings_received and not settings_received and not self.ready.called:
            self.ready.callback(None)
        self.flush()
        if session.room > room or (room and not session.room):
            self._changed(self)

    def _guarded(self, stream: H2Channel, call: Callable[..., None], *arguments: Event) -> None:
        try:
            call(*arguments)
        except Exception:
            # A fault in one request must not end the others on the connection.
            _log.failure("a response could not be delivered")
            stream.abandon()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail every open stream."""
        self.lost = self._closing = True
        self._ticks.stop()
        text = (
            self.session.error or getattr(self.transport, "failure_text", None) or "the connection was lost"
        )
        if not self.ready.called:
            self.ready.errback(ConnectError(text))
        streams, self.session.streams = self.session.streams, {}
        for stream in streams.values():
            owner = stream.owner
            if isinstance(owner, H2Channel) and not stream.ended:
                self._guarded(owner, owner.deliver, Failed(text, False))
        self._changed(self)

    # -- IPushProducer of this connection's bytes

    def pauseProducing(self) -> None:
        """The server does not read: hold back request bodies."""
        self._congested = True

    def resumeProducing(self) -> None:
        self._congested = False
        self.flush()

    def stopProducing(self) -> None:
        """The transport is closed; `connectionLost` follows."""

    def flush(self) -> None:
        """Write what the session has to send."""
        if self._reading or self.lost:
            return
        data = self.session.data_to_send(not self._congested)
        if data:
            self.transport.write(data)
            if self._congested and self.transport.unsent() > MAX_UNSENT:
                self.session.error = (
                    self.session.error or "the server does not read the frames that it caused"
                )
        for stream in list(self.held):
            stream.credited()
        self._settle()

    def _settle(self) -> None:
        session = self.session
        if self._ticks.running and self.idle:
            self.idle_since = self._reactor.seconds()
            self._ticks.stop()
        if self._closing or self._reading or self.lost:
            return
        if session.error:
            self._closing = True
            self.transport.unregisterProducer()
            self.transport.abortConnection()
        elif session.draining and self.idle:
            self._closing = True
            session.goaway()
            self.transport.unregisterProducer()
            self.transport.write(session.data_to_send())
            self.transport.loseConnection()

    def _tick(self) -> None:
        self.session.tick(self._reactor.seconds())
        self.flush()
