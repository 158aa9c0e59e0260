"""The client end of an HTTP/2 connection: streams, flow control and keepalive. Pure.

`H2Session.receive` takes received bytes and returns events of streams; `H2Session.data_to_send` returns the
bytes to send. Times are arguments: seconds of a monotonic clock. Responses have the same types as those of
HTTP/1.1. Source: RFC 9113.
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
from superedge.web.h2sending import BodySender, SendQueue
from superedge.web.h2stream import STREAM_WINDOW, H2Stream
from superedge.web.heads import Headers, ResponseHead

CONNECTION_WINDOW = 64 * 1024 * 1024
"""The receive window of all streams together. It does not bound memory; the streams' own windows do."""
MAX_FRAME = 64 * 1024
"""Maximum bytes of a DATA frame that is sent, even if the server accepts more."""
MAX_STREAMS = 32
"""Maximum concurrent streams, even if the server allows more. The streams of a connection share one pair of
kernel buffers, and kube-apiserver ends a watch whose events wait there for too long in a burst."""
DEFAULT_STREAMS = 100
"""Maximum concurrent streams when the server's SETTINGS do not set it."""
_PING = b"superedg"


class Failed(NamedTuple):
    """The stream ended before its response did. ``unprocessed``: the server did not process the request."""

    reason: str
    unprocessed: bool


Event = ResponseHead | list[bytes] | End | Failed


class H2Session:
    """One connection to a server, beginning with the preface."""

    def __init__(self, now: float) -> None:
        self.streams: dict[int, H2Stream] = {}
        self.settings_received = False
        """Whether the server's first SETTINGS frame has arrived."""
        self.draining = False
        """Whether no new stream may be opened; open ones continue."""
        self.error = ""
        """Why the connection is unusable; empty while it is usable."""
        self.responses = 0
        """Responses that have begun."""
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
        self._sending = BodySender(self._trailers, self._sent)
        self._touched: list[H2Stream] = []
        self._events: list[tuple[H2Stream, Event]] = []
        self._keepalive = Keepalive(now)

    # -- requests

    @property
    def room(self) -> int:
        """The number of streams that may be opened now."""
        if self.draining or self.error or not self.settings_received:
            return 0
        return min(self._max_streams, MAX_STREAMS) - len(self.streams)

    def open(
        self, method: bytes, target: bytes, headers: Headers, body: bool, owner: object, now: float
    ) -> H2Stream:
        """Send a request's head; with ``body``, `send` and `end` follow. Requires `room`."""
        number, self._next = self._next, self._next + 2
        if self._next > frames.LARGEST_STREAM:
            self.draining = True
        stream = H2Stream(number, owner, method == b"HEAD", self._sending.open(number, body))
        self.streams[number] = stream
        block = self._encoder.encode(request_headers(method, target, headers), huffman=False)
        self._out.append(frames.header_block(number, block, not body, self._sending.frame_size))
        self._ping_if_due(now)
        return stream

    def send(self, stream: H2Stream, data: bytes) -> None:
        """Send part of the request's body as the server's window allows."""
        if stream.id in self.streams:
            self._sending.add(stream.outgoing, data)

    def end(self, stream: H2Stream, trailers: Headers) -> None:
        """End the request."""
        if stream.id in self.streams:
            self._sending.end(stream.outgoing, trailers)

    def reset(self, stream: H2Stream, code: Code = Code.CANCEL) -> None:
        """Reset the stream. It has no further events."""
        if stream.id in self.streams:
            self._forget(stream)
            self._out.append(frames.rst_stream(stream.id, code))

    def pause(self, stream: H2Stream) -> None:
        """Send no more WINDOW_UPDATE for the stream, so that the server stops when its window is used up."""
        stream.paused = True

    def resume(self, stream: H2Stream) -> None:
        """Send WINDOW_UPDATE again."""
        stream.paused = False
        if stream.id in self.streams:
            self._credit_stream(stream)

    def goaway(self) -> None:
        """Announce that this end opens no more streams and is about to close."""
        self.draining = True
        self._out.append(frames.goaway(0, Code.NO_ERROR))

    # -- keepalive

    def tick(self, now: float) -> None:
        """Send a PING when one is due, or set ``error`` when one was not answered. Call it every second."""
        if self._keepalive.timed_out(now):
            self.error = self.error or f"no answer to a PING within {PING_TIMEOUT:g} s"
        else:
            self._ping_if_due(now)

    def probe(self, now: float) -> None:
        """Send a PING now, unless one is outstanding."""
        if self._keepalive.ping(now):
            self._out.append(frames.frame(frames.PING, 0, 0, _PING))

    def _ping_if_due(self, now: float) -> None:
        if self.streams and self._keepalive.ping_due(now):
            self._out.append(frames.frame(frames.PING, 0, 0, _PING))

    # -- bytes to send

    def data_to_send(self, bodies: bool = True) -> bytes:
        """The bytes to send now; without ``bodies``, no DATA frames."""
        if bodies:
            self._sending.fill(self._out)
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _trailers(self, number: int, trailers: Headers) -> bytes:
        block = self._encoder.encode(trailer_headers(trailers), huffman=False)
        return frames.header_block(number, block, True, self._sending.frame_size)

    def _sent(self, outgoing: SendQueue) -> None:
        stream = self.streams[outgoing.stream]
        if stream.ended:
            self._forget(stream)

    # -- received bytes

    def receive(self, data: bytes, now: float) -> list[tuple[H2Stream, Event]]:
        """(stream, event) pairs in order. A connection error is in ``error`` afterwards."""
        self._keepalive.heard(now)
        events = self._events = []
        if self.error:
            return events
        try:
            self._read(self._rest + data if self._rest else data)
        except ConnectionFault as fault:
            self.error = f"not valid HTTP/2: {fault}"
            self._out.append(frames.goaway(0, fault.code))
        for stream in self._touched:
            stream.chunks = None
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
            if not self.settings_received and kind != frames.SETTINGS:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            begin = at + frames.HEAD_SIZE
            after = begin + size
            if after > end:
                break
            at = after
            number &= frames.LARGEST_STREAM
            if self._blocks.open and kind != frames.CONTINUATION:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a header block is interrupted by another frame")
            if kind == frames.DATA:
                self._data(number, flags, data[begin:after], streams.get(number))
            elif kind <= frames.CONTINUATION:
                self._frame(kind, flags, number, data[begin:after])
        self._rest = data[at:]

    def _data(self, number: int, flags: int, payload: bytes, stream: H2Stream | None) -> None:
        size = len(payload)
        # The connection's window is restored at once: each stream enforces its own.
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

    def _body(self, stream: H2Stream, payload: bytes, size: int, last: bool) -> None:
        if stream.body(payload, size) and stream.chunks is not None:
            self._touched.append(stream)
            self._events.append((stream, stream.chunks))
        if last:
            self._response_ended(stream, [])
        elif stream.wants_credit:
            self._credit_stream(stream)

    def _credit_stream(self, stream: H2Stream) -> None:
        credit = stream.take_credit()
        if credit:
            self._out.append(frames.window_update(stream.id, credit))

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        frames.check_stream(kind, number)
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
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a PUSH_PROMISE, which the client's SETTINGS forbid")
        # else PRIORITY, which has no effect

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
                raise StreamFault(Code.STREAM_CLOSED, "headers after the end of the response")
            if stream.answered:
                if not last:
                    raise StreamFault(Code.PROTOCOL_ERROR, "trailers without END_STREAM")
                self._response_ended(stream, read_trailers(fields))
            else:
                self._response(stream, read_response(fields), last)
        except StreamFault as fault:
            self._fault(stream, fault)

    def _response(self, stream: H2Stream, head: ResponseHead, last: bool) -> None:
        if head.status >= 200:
            stream.answer(head)
            self.responses += 1
        elif last:
            raise StreamFault(Code.PROTOCOL_ERROR, "an informational response with END_STREAM")
        self._events.append((stream, head))
        if last:
            self._response_ended(stream, [])

    def _response_ended(self, stream: H2Stream, trailers: Headers) -> None:
        stream.end()
        if stream.outgoing.sent:
            self._forget(stream)
        self._events.append((stream, End(trailers)))

    # -- other frames

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a SETTINGS acknowledgement with a payload")
            return
        self.settings_received = True
        for key, value in frames.read_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                streams = [stream.outgoing for stream in self.streams.values()]
                self._sending.set_initial_window(value, streams)
            elif key == frames.MAX_CONCURRENT_STREAMS:
                self._max_streams = value
            elif key == frames.MAX_FRAME_SIZE:
                self._sending.frame_size = min(value, MAX_FRAME)
            elif key == frames.HEADER_TABLE_SIZE:
                self._encoder.header_table_size = min(value, 4096)
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
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a GOAWAY with a higher stream than an earlier one")
        self._last_allowed = last
        self.draining = True
        reason = f"the server closes the connection: {frames.code_name(code)} {text[:200].decode('latin-1')}"
        for stream in [stream for stream in self.streams.values() if stream.id > last]:
            self._forget(stream)
            if not stream.ended:
                self._fail(stream, reason.strip(), True)

    def _check_closed(self, number: int) -> None:
        """Accept a late frame of a closed stream; a stream that was never opened is an error."""
        if number >= self._next or not number % 2:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"a frame for stream {number}, which was not opened")

    def _fault(self, stream: H2Stream, fault: StreamFault) -> None:
        self.reset(stream, fault.code)
        if not stream.ended:
            self._fail(stream, f"not valid HTTP/2: {fault}", False)

    def _fail(self, stream: H2Stream, reason: str, unprocessed: bool) -> None:
        stream.fail()
        self._events.append((stream, Failed(reason, unprocessed)))

    def _forget(self, stream: H2Stream) -> None:
        del self.streams[stream.id]
        self._sending.drop(stream.outgoing)
