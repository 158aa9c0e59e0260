"""The client's end of an HTTP/2 connection: streams, credit and keepalive, without socket or clock.

`H2Session.receive` takes bytes and gives what happened on which stream; `H2Session.take` gives the bytes
to send. Times are arguments, seconds on any steady clock. A response has the form that HTTP/1.1 gives it.
Source: RFC 9113.
"""

from __future__ import annotations

from typing import NamedTuple

from hpack import Encoder

from superedge.web import h2frames as frames
from superedge.web.h1 import MAX_HEAD, End
from superedge.web.h2frames import Code, ConnectionFault, StreamFault
from superedge.web.h2headers import (
    HeaderReader,
    read_response,
    read_trailers,
    request_headers,
    trailer_headers,
)
from superedge.web.h2keepalive import PING_TIMEOUT, Keepalive
from superedge.web.h2sending import Outgoing, Sending
from superedge.web.h2stream import STREAM_WINDOW, Stream
from superedge.web.heads import Headers, ResponseHead

CONNECTION_WINDOW = 64 * 1024 * 1024
"""Bytes on the way on all streams together; each stream's own window is what bounds memory."""
LARGEST_FRAME = 64 * 1024
"""Most bytes of a body in one frame, whatever the server would take."""
MOST_STREAMS = 32
"""Streams at a time, whatever the server allows: kube-apiserver ends a watch that lags, and what it has sent
ahead of a burst's reader lies in the kernel's buffers, of which a connection has only one pair."""
DEFAULT_STREAMS = 100
"""Streams at a time as long as the server has not said how many."""
_PING = b"superedg"


class Failed(NamedTuple):
    """The stream ended before its response. ``unprocessed``: the server says that it did not look at it."""

    reason: str
    unprocessed: bool


Event = ResponseHead | list[bytes] | End | Failed


class H2Session:
    """One connection to a server, from the preface on."""

    def __init__(self, now: float) -> None:
        self.streams: dict[int, Stream] = {}
        self.settled = False
        """Whether the server has introduced itself by its SETTINGS."""
        self.draining = False
        """Whether no stream may be opened any more; those that are go on."""
        self.broken = ""
        """Why nothing more can come of the connection, empty as long as it works."""
        self.answers = 0
        """Responses that began."""
        self._out: list[bytes] = [
            frames.PREFACE,
            frames.settings(
                {
                    frames.ENABLE_PUSH: 0,
                    frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                    frames.MAX_HEADER_LIST_SIZE: MAX_HEAD,
                }
            ),
            frames.window_update(0, CONNECTION_WINDOW - frames.INITIAL_WINDOW),
        ]
        self._encoder = Encoder()
        self._blocks = HeaderReader()
        self._rest = b""
        self._next = 1
        self._last_allowed = frames.LARGEST_STREAM
        self._max_streams = DEFAULT_STREAMS
        self._consumed = 0
        self._sending = Sending(self._trailers, self._sent)
        self._touched: list[Stream] = []
        self._events: list[tuple[Stream, Event]] = []
        self._keepalive = Keepalive(now)

    # -- requests

    @property
    def room(self) -> int:
        """How many streams may be opened now."""
        if self.draining or self.broken or not self.settled:
            return 0
        return min(self._max_streams, MOST_STREAMS) - len(self.streams)

    def open(
        self, method: bytes, target: bytes, headers: Headers, body: bool, owner: object, now: float
    ) -> Stream:
        """Send a request's head; ``body`` says that `send` and `end` will follow. There must be `room`."""
        number, self._next = self._next, self._next + 2
        if self._next > frames.LARGEST_STREAM:
            self.draining = True
        stream = Stream(number, owner, method == b"HEAD", self._sending.open(number, body))
        self.streams[number] = stream
        block = self._encoder.encode(request_headers(method, target, headers), huffman=False)
        self._out.append(frames.header_block(number, block, not body, self._sending.frame_size))
        self._look(now)
        return stream

    def send(self, stream: Stream, data: bytes) -> None:
        """A piece of the request's body; it leaves as the server gives credit."""
        if stream.id in self.streams:
            self._sending.add(stream.outgoing, data)

    def end(self, stream: Stream, trailers: Headers) -> None:
        """The request is complete."""
        if stream.id in self.streams:
            self._sending.end(stream.outgoing, trailers)

    def reset(self, stream: Stream, code: Code = Code.CANCEL) -> None:
        """The stream is no longer wanted; nothing more happens to it."""
        if stream.id in self.streams:
            self._forget(stream)
            self._out.append(frames.rst_stream(stream.id, code))

    def pause(self, stream: Stream) -> None:
        """Give the server no more credit for the stream: it stops at what it has."""
        stream.paused = True

    def resume(self, stream: Stream) -> None:
        """Give credit again."""
        stream.paused = False
        if stream.id in self.streams:
            self._credit_stream(stream)

    def leave(self) -> None:
        """Say that this end opens no more streams and is about to close."""
        self.draining = True
        self._out.append(frames.goaway(0, Code.NO_ERROR))

    # -- keepalive

    def tick(self, now: float) -> None:
        """To be called about once a second: asks for a sign of life, breaks a connection that gives none."""
        if self._keepalive.dead(now):
            self.broken = self.broken or f"no answer to a PING within {PING_TIMEOUT:g} s"
        else:
            self._look(now)

    def question(self, now: float) -> None:
        """Ask for a sign of life now, unless that was done a moment ago."""
        if self._keepalive.ask(now):
            self._out.append(frames.frame(frames.PING, 0, 0, _PING))

    def _look(self, now: float) -> None:
        if self.streams and self._keepalive.due(now):
            self._out.append(frames.frame(frames.PING, 0, 0, _PING))

    # -- bytes to send

    def take(self, bodies: bool = True) -> bytes:
        """What is to be sent now; without ``bodies`` only what must not wait."""
        if bodies:
            self._sending.fill(self._out)
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _trailers(self, number: int, trailers: Headers) -> bytes:
        block = self._encoder.encode(trailer_headers(trailers), huffman=False)
        return frames.header_block(number, block, True, self._sending.frame_size)

    def _sent(self, outgoing: Outgoing) -> None:
        stream = self.streams[outgoing.stream]
        if stream.ended:
            self._forget(stream)

    # -- bytes that came

    def receive(self, data: bytes, now: float) -> list[tuple[Stream, Event]]:
        """What happened on which stream. When the server broke the rules, `broken` says so afterwards."""
        self._keepalive.heard(now)
        events = self._events = []
        if self.broken:
            return events
        try:
            self._read(self._rest + data if self._rest else data)
        except ConnectionFault as fault:
            self.broken = f"not HTTP/2 as it should be: {fault}"
            self._out.append(frames.goaway(0, fault.code))
        for stream in self._touched:
            stream.pieces = None
        self._touched.clear()
        return events

    def _read(self, data: bytes) -> None:
        at, end = 0, len(data)
        streams, unpack = self.streams, frames.HEAD.unpack_from
        while end - at >= frames.HEAD_SIZE:
            high, low, kind, flags, number = unpack(data, at)
            size = high << 16 | low
            if size > frames.FRAME_SIZE:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            if not self.settled and kind != frames.SETTINGS:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "it does not begin with SETTINGS")
            begin = at + frames.HEAD_SIZE
            after = begin + size
            if after > end:
                break
            at = after
            number &= frames.LARGEST_STREAM
            if self._blocks.open and kind != frames.CONTINUATION:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a header block that is interrupted")
            if kind == frames.DATA:
                self._data(number, flags, data[begin:after], streams.get(number))
            elif kind <= frames.CONTINUATION:
                self._frame(kind, flags, number, data[begin:after])
        self._rest = data[at:]

    def _data(self, number: int, flags: int, payload: bytes, stream: Stream | None) -> None:
        size = len(payload)
        # What a stream may not send is seen there; the connection's credit is given back at once.
        self._consumed += size
        if self._consumed >= CONNECTION_WINDOW // 4:
            self._out.append(frames.window_update(0, self._consumed))
            self._consumed = 0
        if stream is None:
            self._check_closed(number)
            return
        if flags & frames.PADDED:
            payload = frames.unpadded(flags & frames.PADDED, payload)
        try:
            self._body(stream, payload, size, bool(flags & frames.END_STREAM))
        except StreamFault as fault:
            self._fault(stream, fault)

    def _body(self, stream: Stream, payload: bytes, size: int, last: bool) -> None:
        if stream.body(payload, size) and stream.pieces is not None:
            self._touched.append(stream)
            self._events.append((stream, stream.pieces))
        if last:
            self._response_ended(stream, [])
        elif stream.wants_credit:
            self._credit_stream(stream)

    def _credit_stream(self, stream: Stream) -> None:
        credit = stream.take_credit()
        if credit:
            self._out.append(frames.window_update(stream.id, credit))

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind in _ON_STREAMS:
            if not number:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream's frame without stream")
        elif kind in _ON_CONNECTION and number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a connection's frame on a stream")
        if kind == frames.HEADERS:
            payload = frames.unpadded(flags & (frames.PADDED | frames.WITH_PRIORITY), payload)
            self._blocks.begin(number, flags)
            self._header_part(number, flags, payload)
        elif kind == frames.CONTINUATION:
            self._header_part(number, flags, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window_update(number, frames.number(payload, "WINDOW_UPDATE") & frames.LARGEST_WINDOW)
        elif kind == frames.RST_STREAM:
            self._rst(number, frames.number(payload, "RST_STREAM"))
        elif kind == frames.SETTINGS:
            self._settings(flags, payload)
        elif kind == frames.PING:
            if len(payload) != 8:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a PING frame of {len(payload)} bytes")
            if not flags & frames.ACK:
                self._out.append(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.GOAWAY:
            self._goaway(*frames.read_goaway(payload))
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a push, which it was told not to")
        # else PRIORITY, which servers do not send and nobody follows

    # -- headers

    def _header_part(self, number: int, flags: int, part: bytes) -> None:
        fields = self._blocks.add(number, part, bool(flags & frames.END_HEADERS))
        if fields is None:
            return
        stream = self.streams.get(number)
        if stream is None:
            self._check_closed(number)
            return
        last = bool(self._blocks.flags & frames.END_STREAM)
        try:
            if stream.ended:
                raise StreamFault(Code.STREAM_CLOSED, "headers after the end")
            if stream.answered:
                if not last:
                    raise StreamFault(Code.PROTOCOL_ERROR, "trailers that are not the end")
                self._response_ended(stream, read_trailers(fields))
            else:
                self._response(stream, read_response(fields), last)
        except StreamFault as fault:
            self._fault(stream, fault)

    def _response(self, stream: Stream, head: ResponseHead, last: bool) -> None:
        if head.status >= 200:
            stream.answer(head)
            self.answers += 1
        elif last:
            raise StreamFault(Code.PROTOCOL_ERROR, "an informational response that ends the stream")
        self._events.append((stream, head))
        if last:
            self._response_ended(stream, [])

    def _response_ended(self, stream: Stream, trailers: Headers) -> None:
        stream.end()
        if stream.outgoing.sent:
            self._forget(stream)
        self._events.append((stream, End(trailers)))

    # -- the rest

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "an acknowledgement with content")
            return
        self.settled = True
        for key, value in frames.read_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                streams = [stream.outgoing for stream in self.streams.values()]
                self._sending.first_window(value, streams)
            elif key == frames.MAX_CONCURRENT_STREAMS:
                self._max_streams = value
            elif key == frames.MAX_FRAME_SIZE:
                if not frames.FRAME_SIZE <= value <= frames.LARGEST_FRAME_SIZE:
                    raise ConnectionFault(Code.PROTOCOL_ERROR, f"a largest frame of {value} bytes")
                self._sending.frame_size = min(value, LARGEST_FRAME)
            elif key == frames.HEADER_TABLE_SIZE:
                self._encoder.header_table_size = min(value, 4096)
            elif key == frames.ENABLE_PUSH and value:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a server that wants to be pushed to")
        self._out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _window_update(self, number: int, credit: int) -> None:
        if not number:
            self._sending.credit(None, credit)
            return
        stream = self.streams.get(number)
        if stream is None:
            self._check_closed(number)
            return
        try:
            self._sending.credit(stream.outgoing, credit)
        except StreamFault as fault:
            self._fault(stream, fault)

    def _rst(self, number: int, code: int) -> None:
        stream = self.streams.get(number)
        if stream is None:
            self._check_closed(number)
            return
        self._forget(stream)
        if not stream.ended:
            unprocessed = code == Code.REFUSED_STREAM
            self._fail(stream, f"the server reset the stream: {frames.code_name(code)}", unprocessed)

    def _goaway(self, last: int, code: int, text: bytes) -> None:
        if last > self._last_allowed:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a GOAWAY that takes another back")
        self._last_allowed = last
        self.draining = True
        reason = f"the server closes the connection: {frames.code_name(code)} {text[:200].decode('latin-1')}"
        for stream in [stream for stream in self.streams.values() if stream.id > last]:
            self._forget(stream)
            if not stream.ended:
                self._fail(stream, reason.strip(), True)

    def _check_closed(self, number: int) -> None:
        """A frame for a stream that is no more may be late; one for a stream that never was is a fault."""
        if number >= self._next or not number % 2:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"a frame for stream {number}, which nobody opened")

    def _fault(self, stream: Stream, fault: StreamFault) -> None:
        self.reset(stream, fault.code)
        if not stream.ended:
            self._fail(stream, f"not HTTP/2 as it should be: {fault}", False)

    def _fail(self, stream: Stream, reason: str, unprocessed: bool) -> None:
        stream.fail()
        self._events.append((stream, Failed(reason, unprocessed)))

    def _forget(self, stream: Stream) -> None:
        del self.streams[stream.id]
        self._sending.drop(stream.outgoing)


_ON_STREAMS = frozenset({frames.HEADERS, frames.RST_STREAM, frames.CONTINUATION, frames.PUSH_PROMISE})
_ON_CONNECTION = frozenset({frames.SETTINGS, frames.PING, frames.GOAWAY})
