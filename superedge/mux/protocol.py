"""The Twisted protocol that runs a session on a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.mux.errors import ProtocolError
from superedge.mux.frames import ACK, DATA, GO_AWAY, HEADER_SIZE, NORMAL, PROTOCOL_ERROR, REFUSED, header
from superedge.mux.keepalive import TICKS
from superedge.mux.session import Session
from superedge.mux.settings import MuxSettings
from superedge.mux.state import Stats, Stream
from superedge.mux.stream import MuxStream
from superedge.net.bucket import TokenBucket
from superedge.net.transport import READ_SIZE
from superedge.reactor.deadlines import Deadlines
from superedge.reactor.iterations import ReactorIteration
from superedge.reactor.periodic import PeriodicCall

FLUSH_SIZE = 64 * 1024
"""Bytes given in one write to a transport that was blocked, and so the most that an urgent frame waits
behind."""
LONG_FLUSH_SIZE = READ_SIZE + HEADER_SIZE
"""Bytes given in one write to a transport that takes everything: one read of a stream's source."""
UNSENT_IN_KERNEL = 128 * 1024
"""Most bytes in the kernel's send buffer that are not in flight."""


def _lost_because(reason: Failure) -> str:
    """Why a connection was lost, without Twisted's own texts."""
    if type(reason.value) is ConnectionAborted:
        return "this end dropped the connection"
    if reason.check(ConnectionAborted) is None and reason.check(ConnectionDone, ConnectionLost):
        return "the peer closed the connection and gave no reason"
    return reason.getErrorMessage()


@implementer(IPushProducer)
class MuxConnection(Protocol):
    """A connection that carries streams. ``accept`` is called with each stream that the peer opens."""

    def __init__(
        self,
        reactor: IReactorTime,
        *,
        dialer: bool,
        settings: MuxSettings,
        accept: Callable[[MuxStream], None],
    ) -> None:
        self.reactor = reactor
        self.settings = settings
        self._accept_stream = accept
        self.session = Session(dialer, settings, self._accepted, reactor.seconds())
        self.peer: Any = None
        self.host: Any = None
        self.on_going_away: Callable[[], None] | None = None
        """Called once when the peer sends go-away."""
        self.bandwidth: TokenBucket | None = None
        """Limits the stream bytes that are sent; may be shared with other connections."""
        self.deadlines = Deadlines(reactor)
        """The deadlines of its streams; the end of the connection cancels them."""
        self._bandwidth_timer: IDelayedCall | None = None
        self._iteration = ReactorIteration.of(reactor)
        self._flush_scheduled = False
        self._receiving = False
        self._paused = False
        self._close_reason: str | None = None
        self._ended: str | None = None
        self._closed: list[Deferred[str]] = []
        self.established = False
        """Whether the peer has sent something other than a refusal."""
        self._establishing: list[Deferred[bool]] = []
        self._keepalive = PeriodicCall(reactor, settings.ping_interval / TICKS, self._tick)

    @property
    def rtt(self) -> float | None:
        """Round-trip time of the last ping, seconds; None before the first answer."""
        return self.session.rtt

    @property
    def stream_count(self) -> int:
        """The number of open streams."""
        return self.session.stream_count

    @property
    def exhausted(self) -> bool:
        """Whether no stream id is left to open another stream."""
        return self.session.exhausted

    @property
    def load(self) -> tuple[bool, int, float]:
        """A sort key for connections to the same peer: a new stream belongs on the lowest."""
        return self._paused, self.session.stream_count, self.session.rtt or 0.0

    @property
    def stats(self) -> Stats:
        return self.session.stats

    # -- use

    def open(self) -> MuxStream:
        """A new stream. With the last stream id, go-away asks the peer to connect anew.

        Raises StreamRefused or SessionClosed.
        """
        stream = MuxStream(self, self.session.open())
        if self.session.exhausted:
            self.go_away()
        self.flush_soon()
        return stream

    def go_away(self) -> None:
        """Send go-away: the peer opens no more streams, and open streams finish."""
        if not self.session.closed:
            self.session.go_away()
            self.flush_soon()

    def close(self, reason: str) -> None:
        """Send go-away and what the transport takes, and end the session."""
        if self._ended is None:
            self._close_reason = self._close_reason or reason
            self._send_go_away(NORMAL)
            self._end(reason)

    def abort(self, reason: str) -> None:
        """Reset the connection and end the session."""
        if self._ended is None:
            self._close_reason = self._close_reason or reason
            self._transport.abortConnection()
            self._end(reason)

    def refuse(self, message: bytes, reason: str) -> None:
        """For `connectionMade`: begin no session. The dialer gets ``message`` on its first stream.

        Both leave in one write, so that the dialer reads them before it can take the session for begun.
        """
        transport: Any = self.transport
        transport.write(header(DATA, ACK, 1, len(message)) + message + header(GO_AWAY, 0, 0, REFUSED))
        transport.loseConnection()
        self._end(reason)

    def when_closed(self) -> Deferred[str]:
        """Fires with the reason when the session has ended."""
        if self._ended is not None:
            return succeed(self._ended)
        done: Deferred[str] = Deferred()
        self._closed.append(done)
        return done

    def when_established(self) -> Deferred[bool]:
        """Fires with True once the peer's first bytes are processed, with False when the session ended
        before, or with them.
        """
        if self.established or self._ended is not None:
            return succeed(self.established)
        done: Deferred[bool] = Deferred()
        self._establishing.append(done)
        return done

    def _report_established(self) -> None:
        waiting, self._establishing = self._establishing, []
        for done in waiting:
            done.callback(self.established)

    # -- Protocol

    def connectionMade(self) -> None:
        """Start pinging: receive windows grow by the round-trip time of the first answer."""
        transport: Any = self.transport
        self._transport = transport
        self.peer, self.host = transport.getPeer(), transport.getHost()
        transport.keep_queue_short(UNSENT_IN_KERNEL)
        transport.give_up_after(self.settings.ping_timeout)
        transport.registerProducer(self, True)
        self._keepalive.start(now=True)

    def dataReceived(self, data: bytes) -> None:
        """Process received bytes, and send the responses in one write."""
        if self._ended is not None:
            return
        going_away = self.session.going_away
        self._receiving = True
        try:
            rest = self.session.receive(data, self.reactor.seconds())
        except ProtocolError as problem:
            self._receiving = False
            self._close_reason = f"protocol error: {problem}"
            self._send_go_away(PROTOCOL_ERROR)
            self._end(self._close_reason)
            return
        self._receiving = False
        if not self.established and self._ended is None:
            self.established = True
            self._report_established()
        if self.session.has_output:
            self._flush()
        self.session.processed(self.reactor.seconds())
        if rest:
            self._transport.pauseProducing()
            self.reactor.callLater(0, self._receive_rest, rest)
        if self.session.going_away and not going_away and self.on_going_away is not None:
            self.on_going_away()

    def _receive_rest(self, rest: bytes) -> None:
        """Process the bytes that were left for the next reactor iteration."""
        self._transport.resumeProducing()
        self.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, and with it every stream."""
        self._end(self._close_reason or _lost_because(reason))

    def _end(self, reason: str) -> None:
        if self._ended is not None:
            return
        self._ended = reason
        self._keepalive.stop()
        if self._bandwidth_timer is not None:
            self._bandwidth_timer.cancel()
            self._bandwidth_timer = None
        self.session.close(f"the session ended: {reason}")
        self.deadlines.stop()
        self._report_established()
        waiting, self._closed = self._closed, []
        for done in waiting:
            done.callback(reason)

    def _send_go_away(self, code: int) -> None:
        self.session.go_away(code)
        self._flush()
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def _accepted(self, state: Stream) -> None:
        self._accept_stream(MuxStream(self, state))

    def _tick(self) -> None:
        if not self.session.tick(self.reactor.seconds()):
            self.abort(f"no answer to a ping for {self.settings.ping_timeout:g} s")
        else:
            self.flush_soon()

    # -- sending

    def flush_soon(self) -> None:
        """Send what is ready at the end of the reactor iteration."""
        if not (self._flush_scheduled or self._receiving or self._paused) and self.session.has_output:
            self._flush_scheduled = True
            self._iteration.add(self)

    def iteration_ended(self) -> None:
        self._flush_scheduled = False
        self._flush()

    def _flush(self, size: int = LONG_FLUSH_SIZE) -> None:
        session = self.session
        while not self._paused and session.has_output and self._ended is None:
            if self.bandwidth is None:
                self._transport.writeSequence(session.pull(size))
            elif not self._flush_limited(self.bandwidth):
                return

    def _flush_limited(self, bandwidth: TokenBucket) -> bool:
        """Send control frames, and stream data within the limit. Return whether more may be sent."""
        session, now = self.session, self.reactor.seconds()
        room = min(FLUSH_SIZE, bandwidth.available(now))
        before = session.stats.bytes_out
        chunks = session.pull(room)
        if chunks:
            self._transport.writeSequence(chunks)
        bandwidth.consume(session.stats.bytes_out - before, now)
        if not room and self._bandwidth_timer is None:
            self._bandwidth_timer = self.reactor.callLater(bandwidth.delay(now), self._bandwidth_available)
        return room > 0

    def _bandwidth_available(self) -> None:
        self._bandwidth_timer = None
        self._flush()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._flush(FLUSH_SIZE)

    def stopProducing(self) -> None:
        self._paused = True
