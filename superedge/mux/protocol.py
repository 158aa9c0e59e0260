"""The session on a Twisted connection."""

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
from superedge.mux.frames import NORMAL, PROTOCOL_ERROR
from superedge.mux.keepalive import TICKS
from superedge.mux.session import Session
from superedge.mux.settings import MuxSettings
from superedge.mux.state import Stats, Stream
from superedge.mux.stream import MuxStream
from superedge.net.bucket import TokenBucket
from superedge.reactor.deadlines import Deadlines
from superedge.reactor.periodic import PeriodicCall
from superedge.reactor.rounds import Round

FLUSH_SIZE = 64 * 1024
"""Bytes given to the transport in one write: all that a frame with something urgent may wait behind."""
UNSENT_IN_KERNEL = 128 * 1024
"""Bytes that the kernel takes beyond what the path takes now."""


@implementer(IPushProducer)
class MuxConnection(Protocol):
    """One connection's streams. ``accept`` is given each stream the peer opens and must not block."""

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
        """Called once when the peer says that it takes no more streams."""
        self.bandwidth: TokenBucket | None = None
        """Limits the bytes of streams that are sent; may be shared with other connections."""
        self.deadlines = Deadlines(reactor)
        """Of its streams; they end with it."""
        self._turn: IDelayedCall | None = None
        self._round = Round.of(reactor)
        self._in_round = False
        self._receiving = False
        self._full = False
        self._close_reason: str | None = None
        self._ended: str | None = None
        self._closed: list[Deferred[str]] = []
        self.heard = False
        """Whether the peer has sent anything."""
        self._hearing: list[Deferred[bool]] = []
        self._keepalive = PeriodicCall(reactor, settings.ping_interval / TICKS, self._tick)

    @property
    def rtt(self) -> float | None:
        """Seconds of the last ping."""
        return self.session.rtt

    @property
    def stream_count(self) -> int:
        """Streams open now."""
        return self.session.stream_count

    @property
    def used_up(self) -> bool:
        """Whether it can open no more streams, ever."""
        return self.session.used_up

    @property
    def load(self) -> tuple[bool, int, float]:
        """Compares connections to the same peer: the least has the most room for a new stream."""
        return self._full, self.session.stream_count, self.session.rtt or 0.0

    @property
    def stats(self) -> Stats:
        """Counters."""
        return self.session.stats

    # -- use

    def open(self) -> MuxStream:
        """A new stream; with the last one that may be, the peer is asked to connect anew.

        Raises StreamRefused or SessionClosed.
        """
        stream = MuxStream(self, self.session.open())
        if self.session.used_up:
            self.go_away()
        self.wake()
        return stream

    def go_away(self) -> None:
        """Ask the peer to open no more; streams that are open finish."""
        if not self.session.closed:
            self.session.go_away()
            self.wake()

    def close(self, reason: str) -> None:
        """Say goodbye, send what the transport takes, and end the session."""
        if self._ended is None:
            self._close_reason = self._close_reason or reason
            self._say_goodbye(NORMAL)
            self._end(reason)

    def abort(self, reason: str) -> None:
        """Drop the connection at once."""
        if self._ended is None:
            self._close_reason = self._close_reason or reason
            self._transport.abortConnection()
            self._end(reason)

    def when_closed(self) -> Deferred[str]:
        """Fires with the reason when the session has ended."""
        if self._ended is not None:
            return succeed(self._ended)
        done: Deferred[str] = Deferred()
        self._closed.append(done)
        return done

    def when_heard(self) -> Deferred[bool]:
        """Fires with True at the peer's first bytes, with False when the session ended before."""
        if self.heard or self._ended is not None:
            return succeed(self.heard)
        done: Deferred[bool] = Deferred()
        self._hearing.append(done)
        return done

    def _tell_heard(self) -> None:
        waiting, self._hearing = self._hearing, []
        for done in waiting:
            done.callback(self.heard)

    # -- Protocol

    def connectionMade(self) -> None:
        """Start pinging: the first answer gives the RTT that windows grow by."""
        transport: Any = self.transport
        self._transport = transport
        self.peer, self.host = transport.getPeer(), transport.getHost()
        transport.keep_queue_short(UNSENT_IN_KERNEL)
        transport.give_up_after(self.settings.ping_timeout)
        transport.registerProducer(self, True)
        self._keepalive.start(now=True)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; what they lead to leaves in one write."""
        if self._ended is not None:
            return
        if not self.heard:
            self.heard = True
            self._tell_heard()
        going_away = self.session.going_away
        self._receiving = True
        try:
            rest = self.session.receive(data, self.reactor.seconds())
        except ProtocolError as problem:
            self._receiving = False
            self._close_reason = f"protocol error: {problem}"
            self._say_goodbye(PROTOCOL_ERROR)
            self._end(self._close_reason)
            return
        self._receiving = False
        if self.session.has_output:
            self._flush()
        self.session.rested(self.reactor.seconds())
        if rest:
            self._transport.pauseProducing()
            self.reactor.callLater(0, self._go_on, rest)
        if self.session.going_away and not going_away and self.on_going_away is not None:
            self.on_going_away()

    def _go_on(self, rest: bytes) -> None:
        """Others had their turn: take what one turn was too short for."""
        self._transport.resumeProducing()
        self.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, and with it every stream."""
        closed = reason.check(ConnectionDone, ConnectionLost) and not reason.check(ConnectionAborted)
        told = "the peer closed the connection and gave no reason" if closed else reason.getErrorMessage()
        self._end(self._close_reason or told)

    def _end(self, reason: str) -> None:
        if self._ended is not None:
            return
        self._ended = reason
        self._keepalive.stop()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self.session.close(f"the session ended: {reason}")
        self.deadlines.stop()
        self._tell_heard()
        waiting, self._closed = self._closed, []
        for done in waiting:
            done.callback(reason)

    def _say_goodbye(self, code: int) -> None:
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
            self.wake()

    # -- sending

    def wake(self) -> None:
        """Something may be ready to be sent: send it at the end of the reactor's round."""
        if not (self._in_round or self._receiving or self._full) and self.session.has_output:
            self._in_round = True
            self._round.add(self)

    def round_over(self) -> None:
        """Send what is ready."""
        self._in_round = False
        self._flush()

    def _flush(self) -> None:
        session = self.session
        while not self._full and session.has_output and self._ended is None:
            if self.bandwidth is None:
                self._transport.writeSequence(session.pull(FLUSH_SIZE))
            elif not self._flush_paced(self.bandwidth):
                return

    def _flush_paced(self, bandwidth: TokenBucket) -> bool:
        """Send what may pass now, control frames in any case; whether more may pass."""
        session, now = self.session, self.reactor.seconds()
        room = min(FLUSH_SIZE, bandwidth.room(now))
        before = session.stats.bytes_out
        pieces = session.pull(room)
        if pieces:
            self._transport.writeSequence(pieces)
        bandwidth.spend(session.stats.bytes_out - before, now)
        if not room and self._turn is None:
            self._turn = self.reactor.callLater(bandwidth.wait(now), self._its_turn)
        return room > 0

    def _its_turn(self) -> None:
        self._turn = None
        self._flush()

    def pauseProducing(self) -> None:
        """The connection's send buffer is full."""
        self._full = True

    def resumeProducing(self) -> None:
        """The connection's send buffer has room."""
        self._full = False
        self._flush()

    def stopProducing(self) -> None:
        """The connection is gone; connectionLost follows."""
        self._full = True
