"""An HTTP/2 connection to a server, and its streams: the I/O of `superedge.web.h2session`."""

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
from superedge.web.h2stream import Stream
from superedge.web.heads import Headers, OutgoingRequest, ResponseHead

TICK = 1.0
BODY_LIMIT = 256 * 1024
"""Bytes of a request's body that wait here for the server's credit before the client is held back."""
MAX_UNSENT = 4 * 1024 * 1024
"""Bytes that a server may leave in its socket; it made us write them and does not read."""

_log = Logger()


class H2Stream:
    """One request over a shared connection; see `superedge.web.channels.UpstreamChannel`.

    It is the producer of its response's body: paused, it holds back the server's credit for itself alone.
    """

    __slots__ = ("_body_producer", "_connection", "_held", "_receiver", "_stream", "used")

    def __init__(self, connection: H2Connection) -> None:
        self._connection = connection
        self._stream: Stream | None = None
        self._receiver: ResponseReceiver | None = None
        self._body_producer: Any = None
        self._held = False
        self.used = connection.session.answers > 0

    @property
    def producer(self) -> H2Stream:
        """Where the response's body comes from."""
        return self

    def begin(self, request: OutgoingRequest, receiver: ResponseReceiver) -> None:
        """Send a request's head."""
        self._receiver = receiver
        self._connection.open(self, request)

    def opened(self, stream: Stream) -> None:
        """It has its number."""
        self._stream = stream

    def body_from(self, producer: Any) -> None:
        """Pause ``producer``, whose pieces are given to `send`, while the server gives no credit."""
        self._body_producer = producer

    def send(self, data: bytes) -> None:
        """A piece of the request's body."""
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
        """The request is complete."""
        if self._stream is not None:
            self._connection.session.end(self._stream, trailers)
            self._connection.flush()
        self._body_producer = None

    def credited(self) -> None:
        """The server took some of the body."""
        if self._stream is not None and self._stream.queued <= BODY_LIMIT // 2:
            self._go_on()

    def give_up_body(self) -> None:
        """The response is whole, the rest of the request is not wanted."""
        self._end(Code.NO_ERROR)

    def give_up(self, reason: str) -> None:
        """The response is waited for no more; whether the connection lives, its pings tell."""
        receiver = self._receiver
        self.used = True
        self._end(Code.CANCEL)
        self._connection.question()
        if receiver is not None:
            receiver.failed(reason)

    def abandon(self) -> None:
        """The response is no longer wanted."""
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

    # -- producer of the response

    def pauseProducing(self) -> None:
        """The client reads no more for now."""
        if self._stream is not None:
            self._connection.session.pause(self._stream)

    def resumeProducing(self) -> None:
        """The client reads on."""
        if self._stream is not None:
            self._connection.session.resume(self._stream)
            self._connection.flush()

    def stopProducing(self) -> None:
        """The client is gone; its request says so, too."""

    # -- told by the connection

    def happened(self, event: Event) -> None:
        """Tell the receiver. What it raises is for the connection to log."""
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

    def round_done(self) -> None:
        """All that came at once has been told."""
        if self._receiver is not None:
            self._receiver.round_done()


class H2Connection(Protocol):
    """Streams to one server. ``changed`` is called when it can take more streams, or none any more."""

    transport: Any

    def __init__(self, reactor: IReactor, changed: Callable[[H2Connection], None]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._reading = False
        self._congested = False
        self._closing = False
        self._reserved: set[H2Stream] = set()
        self._ticks = PeriodicCall(reactor, TICK, self._tick)
        self.session = H2Session(reactor.seconds())
        self.held: set[H2Stream] = set()
        """Streams whose request's body waits for credit."""
        self.ready: Deferred[None] = Deferred()
        """Fires with the server's SETTINGS; fails with ConnectError."""
        self.lost = False
        self.idle_since = reactor.seconds()

    @property
    def room(self) -> int:
        """Streams that may be opened now."""
        return 0 if self._closing else self.session.room - len(self._reserved)

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return not self.session.streams and not self._reserved

    def stream(self) -> H2Stream:
        """A stream to be used at once. There must be `room`."""
        stream = H2Stream(self)
        self._reserved.add(stream)
        return stream

    def open(self, stream: H2Stream, request: OutgoingRequest) -> None:
        """Called by a stream."""
        self._reserved.discard(stream)
        now, session = self._reactor.seconds(), self.session
        stream.opened(
            session.open(request.method, request.target, request.headers, request.has_body, stream, now)
        )
        if not self._ticks.running:
            self._ticks.start()
        self.flush()

    def unused(self, stream: H2Stream) -> None:
        """Called by a stream that was not used after all."""
        self._reserved.discard(stream)

    def question(self) -> None:
        """Ask the server for a sign of life now, if requests are under way."""
        if not self.idle and not self.lost:
            self.session.question(self._reactor.seconds())
            self.flush()

    def drain(self) -> None:
        """Take no more streams, close after those under way."""
        self.session.draining = True
        self._settle()

    def abort(self) -> None:
        """Drop the connection."""
        self._closing = True
        self.transport.abortConnection()

    # -- as a protocol

    def connectionMade(self) -> None:
        """Introduce this end."""
        self.transport.registerProducer(self, True)
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        """Tell each stream what came for it, and then that this was all."""
        session = self.session
        room, settled = session.room, session.settled
        self._reading = True
        told: dict[H2Stream, None] = {}
        for stream, event in session.receive(data, self._reactor.seconds()):
            owner = stream.owner
            assert isinstance(owner, H2Stream)
            told[owner] = None
            self._guarded(owner, owner.happened, event)
        for owner in told:
            self._guarded(owner, owner.round_done)
        self._reading = False
        if session.settled and not settled and not self.ready.called:
            self.ready.callback(None)
        self.flush()
        if session.room > room or (room and not session.room):
            self._changed(self)

    def _guarded(self, stream: H2Stream, tell: Callable[..., None], *arguments: Event) -> None:
        try:
            tell(*arguments)
        except Exception:
            # One request's trouble is not that of the others on the connection.
            _log.failure("a response could not be passed on")
            stream.abandon()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell every stream that waits."""
        self.lost = self._closing = True
        self._ticks.stop()
        text = (
            self.session.broken or getattr(self.transport, "failure_text", None) or "the connection was lost"
        )
        if not self.ready.called:
            self.ready.errback(ConnectError(text))
        streams, self.session.streams = self.session.streams, {}
        for stream in streams.values():
            owner = stream.owner
            if isinstance(owner, H2Stream) and not stream.ended:
                self._guarded(owner, owner.happened, Failed(text, False))
        self._changed(self)

    # -- writing

    def pauseProducing(self) -> None:
        """The server does not read: bodies wait."""
        self._congested = True

    def resumeProducing(self) -> None:
        """The server reads."""
        self._congested = False
        self.flush()

    def stopProducing(self) -> None:
        """The transport is gone, `connectionLost` follows."""

    def flush(self) -> None:
        """Send what there is to send."""
        if self._reading or self.lost:
            return
        data = self.session.take(not self._congested)
        if data:
            self.transport.write(data)
            if self._congested and self.transport.unsent() > MAX_UNSENT:
                self.session.broken = self.session.broken or "the server does not read what it asked for"
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
        if session.broken:
            self._closing = True
            self.transport.unregisterProducer()
            self.transport.abortConnection()
        elif session.draining and self.idle:
            self._closing = True
            session.leave()
            self.transport.unregisterProducer()
            self.transport.write(session.take())
            self.transport.loseConnection()

    def _tick(self) -> None:
        self.session.tick(self._reactor.seconds())
        self.flush()
