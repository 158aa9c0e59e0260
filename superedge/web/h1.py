"""HTTP/1.1 messages from bytes and to bytes. Pure.

A reader is fed what came in and returns events: a head, body pieces (bytes), an `End`, and for requests
that switch protocols `Switched` with what follows. Source: RFC 9112.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

from superedge.errors import SuperEdgeError

MAX_HEAD = 128 * 1024
"""Bytes of request line and headers, or of trailers, that are taken."""

LONG = 64 * 1024
"""Bytes of a body's rest that are worth a new parser."""
_SHORT = len(str(LONG)) - 1
"""Digits of a length that is not long."""

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that are about one connection (RFC 9110 section 7.6.1)."""

_NOTED = frozenset(
    {
        b"accept",
        b"audit-id",
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"etag",
        b"expect",
    }
)
_FRAMING = frozenset({b"content-length", b"host"})
"""What Connection may not take away: without it the next server would read another message."""
_PLAIN_CONNECTIONS = frozenset({b"keep-alive", b"close", b"upgrade"})


class MessageError(SuperEdgeError):
    """Bytes that are no HTTP message; ``code`` is what a server answers."""

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


class RequestHead(NamedTuple):
    """A request line and its headers; ``upgrade`` when the client asks to switch protocols."""

    method: bytes
    target: bytes
    version: str
    headers: Headers
    keep_alive: bool
    upgrade: bool


class ResponseHead(NamedTuple):
    """A status line and its headers. ``bounded`` is false when the body ends with the connection."""

    status: int
    reason: bytes
    headers: Headers
    keep_alive: bool
    bounded: bool


class End(NamedTuple):
    """The message is complete."""

    trailers: Headers


class Switched(NamedTuple):
    """What came after a request that switches protocols; from here on the reader reads no more."""

    rest: bytes


RequestEvent = RequestHead | bytes | End | Switched
ResponseEvent = ResponseHead | bytes | End | Switched
_Event = RequestHead | ResponseHead | bytes | End | Switched


class _Reader:
    """What both directions share: headers, trailers, bodies and bounds."""

    _parser: HttpRequestParser | HttpResponseParser

    def __init__(self) -> None:
        self._events: list[_Event] = []
        self._headers: Headers = []
        self._silent = 0

    # Called by the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._events.append(body)

    def on_message_complete(self) -> None:
        self._events.append(End(self._headers))
        self._headers = []

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as switch:
            self._events.append(Switched(data[switch.args[0] :]))
        except HttpParserError as problem:
            raise MessageError(f"not an HTTP/1.1 message: {problem}") from problem
        # What brings no event is an unfinished head, or trailers: the parser and we keep it.
        if self._events:
            self._silent = 0
            return
        self._silent += len(data)
        if self._silent > MAX_HEAD:
            raise MessageError(f"headers of more than {MAX_HEAD} bytes", 431)


class RequestReader(_Reader):
    """Reads requests, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._target: list[bytes] = []
        self._parser: HttpRequestParser = HttpRequestParser(self)

    def feed(self, data: bytes) -> list[RequestEvent]:
        """The events that the bytes complete. Raises MessageError; then the connection is of no use."""
        events: list[RequestEvent] = []
        self._events = cast(list[_Event], events)
        self._feed(data)
        return events

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._target = []

    def on_url(self, part: bytes) -> None:
        """Called by the parser."""
        self._target.append(part)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        parser = self._parser
        self._events.append(
            RequestHead(
                parser.get_method(),
                b"".join(self._target),
                parser.get_http_version(),
                self._headers,
                parser.should_keep_alive(),
                parser.should_upgrade(),
            )
        )
        self._headers = []


class ResponseReader(_Reader):
    """Reads responses; say with `expect` what each one answers."""

    def __init__(self) -> None:
        super().__init__()
        self._reason: list[bytes] = []
        self._head_only = False
        self._length = 0
        self._left = 0
        """Bytes still to come of a long body, which the parser does not see."""
        self._parser: HttpResponseParser = HttpResponseParser(self)

    def expect(self, head_only: bool) -> None:
        """The next response is to a HEAD request: it has no body whatever its headers say."""
        self._head_only = head_only

    def feed(self, data: bytes) -> list[ResponseEvent]:
        """The events that the bytes complete. Raises MessageError; then the connection is of no use."""
        if self._left:
            return self._take_body(data)
        events: list[ResponseEvent] = []
        self._events = cast(list[_Event], events)
        self._feed(data)
        length, self._length = self._length, 0
        if length and not self._head_only:
            self._pass_by(events, length)
        if self._head_only and any(type(event) is ResponseHead and event.status >= 200 for event in events):
            # The parser waits for a body that never comes: begin anew, unless bytes came all the same.
            if type(events[-1]) is bytes:
                raise MessageError("a body in the answer to HEAD")
            if type(events[-1]) is not End:
                events.append(End([]))
            self._parser = HttpResponseParser(self)
            self._head_only = False
        return events

    def _pass_by(self, events: list[ResponseEvent], length: int) -> None:
        """If a long body of known length has begun, take the rest of it without the parser."""
        left = length
        for event in reversed(events):
            if type(event) is not bytes:
                break
            left -= len(event)
        if left > LONG and type(event) is ResponseHead:
            self._left = left
            self._parser = HttpResponseParser(self)

    def _take_body(self, data: bytes) -> list[ResponseEvent]:
        left = self._left
        if len(data) < left:
            self._left -= len(data)
            return [data]
        self._left = 0
        if len(data) == left:
            return [data, End([])]
        return [data[:left], End([]), *self.feed(data[left:])]

    def on_status(self, part: bytes) -> None:
        """Called by the parser."""
        self._reason.append(part)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        parser = self._parser
        status = parser.get_status_code()
        headers, length = self._headers, b""
        bounded = status < 200 or status in (204, 304)
        if not bounded:
            for name, value in headers:
                low = name.lower()
                if low == b"content-length":
                    bounded, length = True, value
                elif low == b"transfer-encoding":
                    bounded = bounded or b"chunked" in value.lower()
        self._length = int(length) if len(length) > _SHORT else 0
        reason = b"".join(self._reason)
        self._events.append(ResponseHead(status, reason, headers, parser.should_keep_alive(), bounded))
        self._reason = []
        self._headers = []


def split_headers(headers: Headers, connection_bound: frozenset[bytes]) -> tuple[Headers, dict[bytes, bytes]]:
    """The headers to forward, and by lower-case name those that a proxy looks at.

    Left out are those in ``connection_bound`` and what ``Connection`` names (RFC 9110 section 7.6.1).
    Values of a repeated header are joined by commas in the second.
    """
    kept: Headers = []
    noted: dict[bytes, bytes] = {}
    for pair in headers:
        low = pair[0].lower()
        if low in connection_bound:
            noted[low] = noted[low] + b"," + pair[1] if low in noted else pair[1]
            continue
        if low in _NOTED:
            noted[low] = noted[low] + b"," + pair[1] if low in noted else pair[1]
        kept.append(pair)
    connection = noted.get(b"connection")
    if connection is not None and connection.lower() not in _PLAIN_CONNECTIONS:
        tokens = {token.strip().lower() for token in connection.split(b",")} - _FRAMING
        kept = [pair for pair in kept if pair[0].lower() not in tokens]
    return kept, noted


def chunk(pieces: list[bytes]) -> list[bytes]:
    """The pieces as one chunk of a chunked body."""
    size = sum(map(len, pieces))
    return [b"%x\r\n" % size, *pieces, b"\r\n"] if size else []


def last_chunk(trailers: Headers) -> bytes:
    """The end of a chunked body."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in trailers) + b"\r\n"


def response_head(status: int, reason: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A status line and headers, as they stand on the wire."""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason)]
    lines += [b"%b: %b\r\n" % pair for pair in headers]
    lines.append(b"\r\n")
    return b"".join(lines)


def request_head(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A request line and headers, as they stand on the wire."""
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target)]
    lines += [b"%b: %b\r\n" % pair for pair in headers]
    lines.append(b"\r\n")
    return b"".join(lines)
