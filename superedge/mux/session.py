"""The session: streams, credit and keepalive, without sockets or clocks.

``receive`` takes received bytes, and ``pull`` gives the bytes to send. A stream's events go to its
`StreamEvents`. Times are arguments, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable

from superedge.mux.errors import ProtocolError, SessionClosed, StreamRefused
from superedge.mux.flood import UNEXPECTED_STREAM, FloodGuard
from superedge.mux.frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    NORMAL,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    FrameReader,
    header,
)
from superedge.mux.keepalive import Keepalive
from superedge.mux.outgoing import Outgoing
from superedge.mux.settings import INITIAL_WINDOW, MuxSettings
from superedge.mux.state import Stats, Stream
from superedge.mux.streamids import PeerStreamIds
from superedge.mux.windows import Allowance

MAX_CREDIT = MAX_ID = 0xFFFF_FFFF
SMALL_CREDIT = 8 * 1024
"""A window update with less credit counts as a frame without data."""
SMALL_DATA = 1024
"""As SMALL_CREDIT, of the data for a stream that is not there."""
MAX_CONTROL = 20_000
"""Control frames that may be queued while the peer reads nothing."""


class Session:
    """One end of a connection. The dialer opens odd stream ids, the acceptor even ones."""

    def __init__(
        self,
        dialer: bool,
        settings: MuxSettings,
        accept: Callable[[Stream], None],
        now: float,
    ) -> None:
        self._settings = settings
        self._accept = accept
        self._next_id = 1 if dialer else 2
        self._peer_parity = 0 if dialer else 1
        self._allowance = Allowance(settings)
        max_frame = max(settings.max_window, INITIAL_WINDOW)
        self._reader = FrameReader(self._frame, self._payload, max_frame)
        self._streams: dict[int, Stream] = {}
        self._accepted = 0
        self._peer_ids = PeerStreamIds(self._peer_parity)
        self._current: Stream
        """The stream of the last data frame."""
        self._current_fin = False
        self._received: list[bytes | memoryview] = []
        """Its received bytes that it has not got yet."""
        self._now = now
        self._keepalive = Keepalive(settings, now)
        self._flood = FloodGuard(now)
        self.going_away = False
        """The peer has sent go-away."""
        self.closed = False
        self.stats = Stats()
        self._outgoing = Outgoing(settings, self.stats, self._finish)
        self._control = self._outgoing.control

    @property
    def rtt(self) -> float | None:
        """Round-trip time of the last ping, seconds; None before the first answer."""
        return self._keepalive.rtt

    @property
    def stream_count(self) -> int:
        """The number of open streams, from both sides."""
        return len(self._streams)

    @property
    def exhausted(self) -> bool:
        """Whether no stream id is left to open another stream."""
        return self._next_id > MAX_ID

    # -- opening and sending

    def open(self) -> Stream:
        """A new stream. Its SYN is sent with its first frame. Raises StreamRefused or SessionClosed."""
        if self.closed:
            raise SessionClosed("the session is closed")
        if self.going_away:
            raise StreamRefused("the peer takes no more streams")
        if len(self._streams) - self._accepted >= self._settings.max_streams:
            raise StreamRefused(f"{self._settings.max_streams} streams are open on this session")
        if self.exhausted:
            raise StreamRefused("the session has used up its stream ids")
        stream = Stream(self._next_id, SYN, self._allowance)
        self._next_id += 2
        self._streams[stream.id] = stream
        self.stats.streams_opened += 1
        self._outgoing.enqueue(stream)
        return stream

    def opened(self, stream: Stream) -> bool:
        """Whether this end opened the stream, and the session is open."""
        return stream.id & 1 != self._peer_parity and not self.closed

    def send(self, stream: Stream, data: bytes) -> bool:
        """Queue bytes. Return False when the stream's producer should pause."""
        return self._outgoing.send(stream, data)

    def send_fin(self, stream: Stream) -> None:
        """Send FIN after the queued bytes."""
        if not (stream.fin_queued or stream.closed):
            stream.fin_queued = True
            self._outgoing.enqueue(stream)

    def reset(self, stream: Stream) -> None:
        """Reset the stream now and drop its queued bytes."""
        if not stream.closed:
            self._forget(stream)
            self.stats.count_reset("local")
            self._control.append(header(WINDOW_UPDATE, RST | stream.flags, stream.id, 0))

    def consumed(self, stream: Stream, count: int, now: float | None = None) -> None:
        """Give credit for bytes that have left memory; ``now`` if that was after their receipt."""
        if stream.closed:
            return
        if stream.fin_received:
            stream.receive.drain(count)
            return
        if now is None:
            now = self._now
        credit = stream.receive.consume(count, now, self._keepalive.path_rtt)
        if credit:
            flags, stream.flags = stream.flags, 0
            self._control.append(header(WINDOW_UPDATE, flags, stream.id, credit))
            self._send_ping(self._keepalive.probe(now))

    def go_away(self, code: int = NORMAL) -> None:
        """Send go-away: the peer shall open no more streams."""
        self._control.append(header(GO_AWAY, 0, 0, code))

    @property
    def has_output(self) -> bool:
        """Whether ``pull`` would give bytes."""
        return self._outgoing.waits

    def pull(self, limit: int) -> list[bytes | memoryview]:
        """Frames to send, as `Outgoing.pull`."""
        return self._outgoing.pull(limit)

    # -- receiving

    def receive(self, data: bytes, now: float) -> bytes:
        """Process the bytes of a bounded number of frames. Return the rest, to be passed again.

        Raises ProtocolError, after which the session cannot be used.
        """
        self._now = now
        self._keepalive.received(now)
        try:
            rest = self._reader.feed(data)
        finally:
            if self._received:
                self._deliver()
        if len(self._control) > MAX_CONTROL:
            raise ProtocolError("the peer asks for responses and does not read them")
        return rest

    def processed(self, now: float) -> None:
        """The bytes passed to ``receive`` were processed."""
        self._keepalive.processed(now)

    def _frame(self, kind: int, flags: int, id: int, length: int) -> bool:
        if self._received and (flags or kind != DATA or self._current.id != id):
            self._deliver()
        if kind == PING:
            self._ping(flags, length)
            return False
        if kind == GO_AWAY:
            if length != NORMAL:
                raise ProtocolError(f"the peer ended the session with code {length}")
            if self.going_away:
                self._flood.count(self._now)
            self.going_away = True
            return False
        if flags & SYN:
            self._accept_stream(id)
        stream = self._streams.get(id)
        if stream is None:
            if id & 1 != self._peer_parity and id >= self._next_id:
                raise ProtocolError(f"frame for stream {id}, which was never opened")
            if not flags & SYN and (kind == WINDOW_UPDATE or length < SMALL_DATA):
                self._flood.count(self._now)
            return False
        if flags & RST:
            self._flood.count(self._now)
            self._forget(stream)
            self.stats.count_reset("peer")
            stream.events.was_reset("the peer reset the stream")
            return False
        if kind == WINDOW_UPDATE:
            if length < SMALL_CREDIT and not self._is_expected(stream, flags):
                self._flood.count(self._now)
            if length:
                self._credit(stream, length)
            if flags & FIN:
                self._fin(stream)
            return False
        if stream.fin_received:
            raise ProtocolError(f"data on stream {id} after its end")
        if not length:
            self._flood.count(self._now)
            if flags & FIN:
                self._fin(stream)
            return False
        self.stats.bytes_in += length
        stream.transferred += length
        if not stream.receive.receive(length):
            raise ProtocolError(f"stream {id} was sent more than its window")
        self._current = stream
        self._current_fin = bool(flags & FIN)
        return True

    def _is_expected(self, stream: Stream, flags: int) -> bool:
        """Whether the flags of a window update begin, acknowledge or end the stream: each may do so once."""
        if flags & ACK and not stream.acknowledged and self.opened(stream):
            stream.acknowledged = True
            return True
        return bool(flags & SYN or (flags & FIN and not stream.fin_received))

    def _payload(self, piece: bytes | memoryview, last: bool) -> None:
        stream = self._current
        if self._received or isinstance(piece, memoryview):
            self._received.append(piece)
            if last and self._current_fin:
                self._deliver()
        elif not stream.closed:
            stream.events.data_received(piece)
        if last and self._current_fin and not stream.closed:
            self._fin(stream)

    def _deliver(self) -> None:
        """Give the current stream its large pieces together: each delivery becomes a write."""
        received, self._received = self._received, []
        stream = self._current
        if not stream.closed:
            stream.events.data_received(b"".join(received))

    def _credit(self, stream: Stream, credit: int) -> None:
        if stream.send_window + credit > MAX_CREDIT:
            raise ProtocolError(f"stream {stream.id} was given more credit than a window holds")
        stream.send_window += credit
        if stream.unsent:
            self._outgoing.enqueue(stream)

    def _fin(self, stream: Stream) -> None:
        if stream.fin_received:
            return
        stream.fin_received = True
        stream.receive.drain(0)
        stream.events.fin_received()
        if stream.fin_sent and not stream.closed:
            self._finish(stream)

    def _accept_stream(self, id: int) -> None:
        self._peer_ids.take(id)
        settings, asked = self._settings, self.stats.streams_accepted
        unexpected = settings.peer_streams is not None and asked >= settings.peer_streams
        if unexpected or self._accepted >= settings.max_streams or self.closed:
            self.stats.streams_refused += 1
            self._flood.count(self._now, UNEXPECTED_STREAM if unexpected else 1)
            self._control.append(header(WINDOW_UPDATE, RST, id, 0))
            return
        stream = Stream(id, ACK, self._allowance)
        self._streams[id] = stream
        self._accepted += 1
        self.stats.streams_accepted += 1
        self._outgoing.enqueue(stream)
        self._accept(stream)

    def _ping(self, flags: int, value: int) -> None:
        if flags & SYN:
            self._flood.count(self._now)
            self._control.append(header(PING, ACK, 0, value))
        elif not (flags & ACK and self._keepalive.answered(value, self._now)):
            self._flood.count(self._now)

    # -- keepalive and end

    def tick(self, now: float) -> bool:
        """Send a ping when it is time. Return whether the peer is alive. Call it as `Keepalive.tick`."""
        self._now = now
        if not self._keepalive.tick(now):
            return False
        self._send_ping(self._keepalive.due(now))
        return True

    def _send_ping(self, number: int | None) -> None:
        if number is not None:
            self._control.append(header(PING, SYN, 0, number))

    def close(self, reason: str) -> None:
        """Reset every stream and end the session."""
        if self.closed:
            return
        self.closed = True
        for stream in list(self._streams.values()):
            self._forget(stream)
            self.stats.count_reset("session")
            stream.events.was_reset(reason)

    def _finish(self, stream: Stream) -> None:
        self._forget(stream)
        stream.events.finished()

    def _forget(self, stream: Stream) -> None:
        stream.closed = True
        self._outgoing.drop(stream)
        stream.receive.release()
        if self._streams.pop(stream.id, None) is not None and stream.id & 1 == self._peer_parity:
            self._accepted -= 1
