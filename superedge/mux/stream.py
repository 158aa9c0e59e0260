"""A stream as a full Twisted transport: half-close, producers and consumers, back-pressure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IConsumer,
    IProtocol,
    IPushProducer,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.mux.chunks import join_small
from superedge.mux.errors import StreamReset
from superedge.mux.state import Stream
from superedge.net.halfclose import half_closeable
from superedge.reactor.deadlines import Deadline, Deadlines

if TYPE_CHECKING:
    from superedge.mux.protocol import MuxConnection

_log = Logger()


@implementer(ITransport, IConsumer, IPushProducer)
class MuxStream:
    """Bytes received before ``connect`` wait, at most a window of them."""

    __slots__ = (
        "_aborting",
        "_closed",
        "_connection",
        "_deadline",
        "_fin_waiting",
        "_paused",
        "_producer",
        "_producer_paused",
        "_session",
        "_state",
        "_streaming",
        "_told",
        "_unread",
        "_waiting",
        "disconnecting",
        "protocol",
    )

    def __init__(self, connection: MuxConnection, state: Stream) -> None:
        self.disconnecting = False
        """``loseConnection`` was called."""
        self._connection = connection
        self._session = connection.session
        self._state = state
        state.events = self
        self.protocol: Any = None
        """Who receives; assign to hand the stream to another protocol."""
        self._waiting: deque[bytes] = deque()
        self._unread = b""
        self._paused = True
        self._fin_waiting = False
        self._closed: Failure | None = None
        self._told = False
        self._aborting = False
        """It is reset as soon as nothing waits to be sent."""
        self._producer: Any = None
        self._streaming = True
        self._producer_paused = False
        self._deadline: Deadline | None = None

    @property
    def id(self) -> int:
        """The stream's number in its session."""
        return self._state.id

    @property
    def moved(self) -> int:
        """Bytes that it has carried, both ways."""
        return self._state.moved

    @property
    def deadlines(self) -> Deadlines:
        """Those of the connection that carries it."""
        return self._connection.deadlines

    @property
    def gone(self) -> bool:
        """Nothing can happen on it any more."""
        return self._state.gone

    # -- the protocol's side

    def connect(self, protocol: IProtocol) -> None:
        """Make ``protocol`` the receiver and deliver what has come in already."""
        self.protocol = protocol
        self._paused = False
        protocol.makeConnection(self)
        self._deliver()

    def resumeProducing(self) -> None:
        """Go on delivering."""
        if self._paused:
            self._paused = False
            self._deliver()

    def pauseProducing(self) -> None:
        """Deliver nothing; the peer may fill the window, then it waits."""
        self._paused = True

    def stopProducing(self) -> None:
        """The consumer is gone."""
        self.loseConnection()

    def unread(self, data: bytes) -> None:
        """Give back bytes that belong to the next protocol; they are delivered first."""
        self._unread = data + self._unread

    def _deliver(self) -> None:
        if self._unread and not self._paused and self.protocol is not None:
            data, self._unread = self._unread, b""
            if not self.disconnecting:
                self.protocol.dataReceived(data)
        while self._waiting and not self._paused and self.protocol is not None:
            self._hand_over(self._waiting.popleft(), self._connection.reactor.seconds())
        if self._waiting or self._unread or self._paused or self.protocol is None:
            return
        if self._fin_waiting:
            self._fin_waiting = False
            self._tell_fin()
        if self._closed is not None:
            self._tell_lost(self._closed)

    def _hand_over(self, data: bytes, now: float | None = None) -> None:
        if not self.disconnecting:
            try:
                self.protocol.dataReceived(data)
            except Exception:
                _log.failure("protocol of stream {id} failed", id=self.id)
                self.abortConnection()
                return
        self._session.consumed(self._state, len(data), now)
        self._connection.wake()

    def _tell_fin(self) -> None:
        half = None if self.disconnecting else half_closeable(self.protocol)
        if half is None:
            self.loseConnection()
            return
        try:
            half.readConnectionLost()
        except Exception:
            _log.failure("protocol of stream {id} failed", id=self.id)
            self.abortConnection()

    def _tell_lost(self, reason: Failure) -> None:
        if self._told or self.protocol is None:
            return
        self._told = True
        self._waiting.clear()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        protocol, self.protocol = self.protocol, None
        del self._state.events  # nothing happens any more, and nothing is left to the garbage collector
        protocol.connectionLost(reason)

    # -- ITransport and IConsumer

    def write(self, data: bytes) -> None:
        """Queue bytes for the peer."""
        state = self._state
        if not data or state.gone or state.fin_queued:
            return
        if not self._session.send(state, data):
            producer = self._producer
            if producer is not None and self._streaming and not self._producer_paused:
                self._producer_paused = True
                producer.pauseProducing()
        self._connection.wake()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Queue the chunks as one."""
        self.write(b"".join(iovec))

    def loseWriteConnection(self) -> None:
        """Send FIN after everything queued; reading goes on."""
        self._session.send_fin(self._state)
        self._connection.wake()

    def loseConnection(self) -> None:
        """Send what is queued, then FIN, and end when the peer's FIN is there too.

        From our FIN on, the peer has a bounded time for its own. Until then its reader may take any.
        """
        if self.disconnecting or self._state.gone:
            return
        self.disconnecting = True
        self._paused = False
        self._session.send_fin(self._state)
        self._connection.wake()
        if not self._state.unsent:
            self._await_fin()
        self._deliver()

    def _await_fin(self) -> None:
        if not self._state.fin_received and self._deadline is None:
            timeout = self._connection.settings.close_timeout
            self._deadline = self._connection.deadlines.start(timeout, self.abortConnection)

    def abortConnection(self) -> None:
        """Reset the stream; the protocol is told in the next reactor turn."""
        if self._state.gone:
            return
        self._session.reset(self._state)
        self._connection.wake()
        self._closed = Failure(ConnectionAborted())
        self._waiting.clear()
        self._unread = b""
        self._paused = False
        self._connection.reactor.callLater(0, self._deliver)

    def abort_after_writes(self) -> None:
        """Reset the stream once what is queued has left, or when the peer does not take it in time."""
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
        """Pause and resume ``producer`` as the peer takes the bytes."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self._state.gone:
            if self._told:  # else the protocol will be, behind what still waits
                producer.stopProducing()
            return
        self._producer, self._streaming, self._producer_paused = producer, streaming, False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """The producer has no more."""
        self._producer = None

    def getPeer(self) -> Any:
        """The address of the connection that carries the stream."""
        return self._connection.peer

    def getHost(self) -> Any:
        """The local address of the connection that carries the stream."""
        return self._connection.host

    # -- StreamEvents

    def data_received(self, data: bytes) -> None:
        """Deliver, or keep while paused."""
        if self._paused or self._waiting:
            join_small(self._waiting, data)
        else:
            self._hand_over(data)

    def fin_received(self) -> None:
        """Tell the protocol once everything before is delivered."""
        self._fin_waiting = True
        self._deliver()

    def drained(self) -> None:
        """Let the producer go on."""
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
        """The stream was cut. Whoever opened it gets what was answered before, within a bounded time."""
        self._closed = Failure(StreamReset(reason))
        self._fin_waiting = False
        if (self._waiting or self._unread) and self._session.opened(self._state) and not self.disconnecting:
            if self._deadline is None:
                timeout = self._connection.settings.close_timeout
                self._deadline = self._connection.deadlines.start(timeout, self._drop_waiting)
        else:
            self._drop_waiting()

    def _drop_waiting(self) -> None:
        """Tell of the reset now."""
        self._waiting.clear()
        self._unread = b""
        self._paused = False
        self._deliver()

    def finished(self) -> None:
        """Both directions have ended in order."""
        self._closed = connectionDone
        self._deliver()
