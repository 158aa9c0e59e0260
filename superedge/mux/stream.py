"""A stream as a Twisted transport: half-close, producers and consumers, back-pressure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IConsumer,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.mux.chunks import join_small
from superedge.mux.errors import StreamReset
from superedge.mux.session import Session
from superedge.mux.settings import MuxSettings
from superedge.mux.state import Stream
from superedge.net.halfclose import half_closeable
from superedge.reactor.deadlines import Deadline, Deadlines

_log = Logger()


class StreamConnection(Protocol):
    """What a stream needs of the connection that carries it: `superedge.mux.protocol.MuxConnection`."""

    reactor: IReactorTime
    settings: MuxSettings
    session: Session
    deadlines: Deadlines
    peer: Any
    host: Any

    def flush_soon(self) -> None:
        """Send at the end of the reactor iteration."""


@implementer(ITransport, IConsumer, IPushProducer)
class MuxStream:
    """A stream's transport. Bytes that come before ``connect`` are kept; the window bounds them."""

    __slots__ = (
        "_aborting",
        "_closed",
        "_connection",
        "_deadline",
        "_fin_waiting",
        "_lost_delivered",
        "_paused",
        "_producer",
        "_producer_paused",
        "_session",
        "_state",
        "_streaming",
        "_unread",
        "_waiting",
        "disconnecting",
        "protocol",
    )

    def __init__(self, connection: StreamConnection, state: Stream) -> None:
        self.disconnecting = False
        """``loseConnection`` was called."""
        self._connection = connection
        self._session = connection.session
        self._state = state
        state.events = self
        self.protocol: Any = None
        """The receiving protocol; assign another to replace it."""
        self._waiting: deque[bytes] = deque()
        self._unread = b""
        self._paused = True
        self._fin_waiting = False
        self._closed: Failure | None = None
        self._lost_delivered = False
        self._aborting = False
        """Whether to reset the stream as soon as nothing is queued."""
        self._producer: Any = None
        self._streaming = True
        self._producer_paused = False
        self._deadline: Deadline | None = None

    @property
    def id(self) -> int:
        """The stream's id in its session."""
        return self._state.id

    @property
    def transferred(self) -> int:
        """Bytes sent and received."""
        return self._state.transferred

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines of its connection."""
        return self._connection.deadlines

    @property
    def closed(self) -> bool:
        """Whether the stream has ended."""
        return self._state.closed

    # -- the protocol's side

    def connect(self, protocol: IProtocol) -> None:
        """Connect ``protocol`` and deliver the bytes that have come already."""
        self.protocol = protocol
        self._paused = False
        protocol.makeConnection(self)
        self._deliver()

    def resumeProducing(self) -> None:
        if self._paused:
            self._paused = False
            self._deliver()

    def pauseProducing(self) -> None:
        """Deliver nothing. The peer may fill the window; then it waits for credit."""
        self._paused = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def unread(self, data: bytes) -> None:
        """Return bytes that belong to the next protocol; they are delivered first."""
        self._unread = data + self._unread

    def _deliver(self) -> None:
        if self._unread and not self._paused and self.protocol is not None:
            data, self._unread = self._unread, b""
            self._hand(data)
        while self._waiting and not self._paused and self.protocol is not None:
            self._deliver_chunk(self._waiting.popleft(), self._connection.reactor.seconds())
        if self._waiting or self._unread or self._paused or self.protocol is None:
            return
        if self._fin_waiting:
            self._fin_waiting = False
            self._deliver_fin()
        if self._closed is not None:
            self._deliver_lost(self._closed)

    def _hand(self, data: bytes) -> bool:
        """Give the protocol bytes, unless it is disconnecting. False if it failed: the stream is reset."""
        if not self.disconnecting:
            try:
                self.protocol.dataReceived(data)
            except Exception:
                _log.failure("protocol of stream {id} failed", id=self.id)
                self.abortConnection()
                return False
        return True

    def _deliver_chunk(self, data: bytes, now: float | None = None) -> None:
        if self._hand(data):
            self._session.consumed(self._state, len(data), now)
            self._connection.flush_soon()

    def _deliver_fin(self) -> None:
        half = None if self.disconnecting else half_closeable(self.protocol)
        if half is None:
            self.loseConnection()
            return
        try:
            half.readConnectionLost()
        except Exception:
            _log.failure("protocol of stream {id} failed", id=self.id)
            self.abortConnection()

    def _deliver_lost(self, reason: Failure) -> None:
        if self._lost_delivered or self.protocol is None:
            return
        self._lost_delivered = True
        self._waiting.clear()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        producer, self._producer = self._producer, None
        protocol, self.protocol = self.protocol, None
        del self._state.events  # break the reference cycle: no event follows
        try:
            if producer is not None:
                producer.stopProducing()
            protocol.connectionLost(reason)
        except Exception:
            _log.failure("protocol of stream {id} failed", id=self.id)

    # -- ITransport and IConsumer

    def write(self, data: bytes) -> None:
        """Queue bytes for the peer."""
        state = self._state
        if not data or state.closed or state.fin_queued:
            return
        if not self._session.send(state, data):
            producer = self._producer
            if producer is not None and self._streaming and not self._producer_paused:
                self._producer_paused = True
                producer.pauseProducing()
        self._connection.flush_soon()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def loseWriteConnection(self) -> None:
        """Send FIN after the queued bytes; reading goes on."""
        self._session.send_fin(self._state)
        self._connection.flush_soon()

    def loseConnection(self) -> None:
        """Send the queued bytes and FIN, and end when the peer's FIN has come too.

        The peer may take any time to read the queued bytes. After that, its FIN has ``close_timeout``
        seconds.
        """
        if self.disconnecting or self._state.closed:
            return
        self.disconnecting = True
        self._paused = False
        self._session.send_fin(self._state)
        self._connection.flush_soon()
        if not self._state.unsent:
            self._await_fin()
        self._deliver()

    def _await_fin(self) -> None:
        if not self._state.fin_received and self._deadline is None:
            timeout = self._connection.settings.close_timeout
            self._deadline = self._connection.deadlines.start(timeout, self.abortConnection)

    def abortConnection(self) -> None:
        """Reset the stream. ``connectionLost`` follows in the next reactor iteration."""
        if self._state.closed:
            return
        self._session.reset(self._state)
        self._connection.flush_soon()
        self._closed = Failure(ConnectionAborted())
        self._waiting.clear()
        self._unread = b""
        self._paused = False
        self._connection.reactor.callLater(0, self._deliver)

    def abort_after_writes(self) -> None:
        """Reset the stream once the queued bytes are sent, or after ``close_timeout`` seconds."""
        if not self._state.unsent:
            self.abortConnection()
        elif not self._aborting:
            self._aborting = self.disconnecting = True
            self._paused = False
            if self._deadline is None:
                timeout = self._connection.settings.close_timeout
                self._deadline = self._connection.deadlines.start(timeout, self.abortConnection)
            self._deliver()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume ``producer`` as the peer gives credit."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._state.closed:
            if self._lost_delivered:  # otherwise _deliver_lost will stop the producer
                producer.stopProducing()
            return
        self._producer, self._streaming, self._producer_paused = producer, streaming, False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def getPeer(self) -> Any:
        """The address of the connection that carries the stream."""
        return self._connection.peer

    def getHost(self) -> Any:
        """The local address of the connection that carries the stream."""
        return self._connection.host

    # -- StreamEvents

    def data_received(self, data: bytes) -> None:
        """Deliver the bytes, or keep them while paused."""
        if self._paused or self._waiting:
            join_small(self._waiting, data)
        else:
            self._deliver_chunk(data)

    def fin_received(self) -> None:
        """Report the end to the protocol once everything before is delivered."""
        self._fin_waiting = True
        self._deliver()

    def drained(self) -> None:
        """Resume the producer, or finish closing."""
        if self.disconnecting and not self._state.unsent:
            if self._aborting:
                self.abortConnection()
                return
            self._await_fin()
        producer = self._producer
        if producer is not None and (self._producer_paused or not self._streaming):
            self._producer_paused = False
            producer.resumeProducing()

    def was_reset(self, reason: str) -> None:
        """The stream was reset.

        The end that opened it still delivers what came before, for a bounded time.
        """
        self._closed = Failure(StreamReset(reason))
        self._fin_waiting = False
        if (self._waiting or self._unread) and self._session.opened(self._state) and not self.disconnecting:
            if self._deadline is None:
                timeout = self._connection.settings.close_timeout
                self._deadline = self._connection.deadlines.start(timeout, self._drop_waiting)
        else:
            self._drop_waiting()

    def _drop_waiting(self) -> None:
        """Report the reset now."""
        self._waiting.clear()
        self._unread = b""
        self._paused = False
        self._deliver()

    def finished(self) -> None:
        """Both directions have ended with FIN."""
        self._closed = connectionDone
        self._deliver()
