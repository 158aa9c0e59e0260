"""HTTP/1.1 messages from bytes and to bytes. Pure.

A reader is fed what came in and returns events: a head, body pieces (bytes), an `End`, and for requests
that switch protocols `Switched` with what follows. Source: RFC 9112.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

from superedge.errors import SuperEdgeError
from superedge.web.heads import Headers, RequestHead, ResponseHead, header_lines
from superedge.web.plain import MAX_PLAIN, plain_request, plain_response

MAX_HEAD = 128 * 1024
"""Bytes of request line and headers, or of trailers, that are taken."""


class MessageError(SuperEdgeError):
    """Bytes that are no HTTP message; ``code`` is what a server answers."""

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


class End(NamedTuple):
    """The message is complete."""

    trailers: Headers


class Switched(NamedTuple):
    """What came after a request that switches protocols; from here on the reader reads no more."""

    rest: bytes


RequestEvent = RequestHead | bytes | End | Switched
ResponseEvent = ResponseHead | bytes | End | Switched
_Event = RequestHead | ResponseHead | bytes | End | Switched

_END = End([])


class _Reader:
    """What both directions share: headers, trailers, bodies and bounds."""

    _parser: HttpRequestParser | HttpResponseParser

    def __init__(self) -> None:
        self._events: list[Any] = []
        self._headers: Headers = []
        self._silent = 0
        self._inside = False
        """Whether the parser is in the middle of a message."""

    # Called by the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._events.append(body)

    def on_message_complete(self) -> None:
        self._inside = False
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
        if not self._inside and len(data) <= MAX_PLAIN:
            head = plain_request(data)
            if head is not None:
                return [head, _END]
        events: list[RequestEvent] = []
        self._events = events
        self._feed(data)
        for event in events:
            if type(event) is RequestHead:
                _check_framing(event)
        return events

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._inside = True
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


def _check_framing(head: RequestHead) -> None:
    """Refuse what the next server may take for another message than we do (RFC 9112 section 11.2).

    What follows a request to switch protocols is of the other protocol. If the server does not switch, a body
    would be the beginning of the next request on that connection. Raises MessageError.
    """
    for name, value in head.headers:
        low = name.lower()
        if low == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise MessageError("no other Transfer-Encoding than chunked is served", 501)
        if low == b"transfer-encoding" and head.version == "1.0":
            raise MessageError("HTTP/1.0 has no Transfer-Encoding")
        if head.upgrade and (low == b"transfer-encoding" or (low == b"content-length" and int(value))):
            raise MessageError("a request that switches protocols cannot have a body")


class ResponseReader(_Reader):
    """Reads responses; say with `expect` what each one answers."""

    def __init__(self) -> None:
        super().__init__()
        self._reason: list[bytes] = []
        self._head_only = False
        self._left = 0
        """Bytes still to come of a body that the parser does not see."""
        self._last: tuple[bytes, ResponseHead, int] | None = None
        """The last plain head as it came, what it says, and the length of its body."""
        self._parser: HttpResponseParser = HttpResponseParser(self)

    def expect(self, head_only: bool) -> None:
        """The next response is to a HEAD request: it has no body whatever its headers say."""
        self._head_only = head_only

    def feed(self, data: bytes) -> list[ResponseEvent]:
        """The events that the bytes complete. Raises MessageError; then the connection is of no use."""
        if self._left:
            return self._take_body(data)
        if not self._inside and not self._head_only:
            last = self._last
            if last is None or not data.startswith(last[0]):
                last = self._last = plain_response(data)
            if last is not None:
                raw, head, length = last
                body = data[len(raw) :]
                if body and len(body) == length:
                    return [head, body, _END]
                self._left = length
                return [head, *self._take_body(body)]
        events: list[ResponseEvent] = []
        self._events = events
        self._feed(data)
        if self._head_only and any(type(event) is ResponseHead and event.status >= 200 for event in events):
            # The parser waits for a body that never comes: begin anew, unless bytes came all the same.
            if any(type(event) is bytes for event in events):
                raise MessageError("a body in the answer to HEAD")
            if type(events[-1]) is not End:
                events.append(End([]))
            self._parser = HttpResponseParser(self)
            self._head_only = self._inside = False
        return events

    def _take_body(self, data: bytes) -> list[ResponseEvent]:
        left = self._left
        if len(data) < left:
            self._left -= len(data)
            return [data] if data else []
        self._left = 0
        if len(data) == left:
            return [data, _END] if data else [_END]
        rest = [End([]), *self.feed(data[left:])]
        return [data[:left], *rest] if left else rest

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._inside = True

    def on_status(self, part: bytes) -> None:
        """Called by the parser."""
        self._reason.append(part)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        parser = self._parser
        status = parser.get_status_code()
        headers = self._headers
        bounded = status < 200 or status in (204, 304)
        if not bounded:
            for name, value in headers:
                low = name.lower()
                if low == b"content-length":
                    bounded = True
                elif low == b"transfer-encoding":
                    bounded = bounded or b"chunked" in value.lower()
        reason = b"".join(self._reason)
        lines = header_lines(headers)
        self._events.append(ResponseHead(status, reason, lines, parser.should_keep_alive(), bounded))
        self._reason = []
        self._headers = []


def chunk(pieces: list[bytes]) -> list[bytes]:
    """The pieces as one chunk of a chunked body."""
    size = sum(map(len, pieces))
    return [b"%x\r\n" % size, *pieces, b"\r\n"] if size else []


def last_chunk(trailers: Headers) -> bytes:
    """The end of a chunked body."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n" + header_lines(trailers) + b"\r\n"
