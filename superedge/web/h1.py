"""Parses HTTP/1.1 requests strictly, and encodes chunked bodies. Pure.

A reader takes received bytes and returns events: a head, parts of the body (bytes), an `End`, and after a
request to switch protocols a `Switched` with the bytes that follow. Source: RFC 9112. Responses are parsed by
`superedge.web.responses`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from superedge.web.errors import MessageError
from superedge.web.heads import Headers, RequestHead, header_lines, request_head
from superedge.web.plain import MAX_PLAIN, plain_request

MAX_HEAD = 128 * 1024
"""Maximum bytes of request line and headers, and of trailers."""


class End(NamedTuple):
    """The message is complete."""

    trailers: Headers


class Switched(NamedTuple):
    """The bytes after a request to switch protocols; the reader parses nothing more."""

    rest: bytes


RequestEvent = RequestHead | bytes | End | Switched

_END = End([])


_FRAMING = (b"content-length", b"transfer-encoding")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


def _encoded(byte: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(byte[0])


class RequestReader:
    """Parses consecutive requests."""

    def __init__(self) -> None:
        self._events: list[Any] = []
        self._headers: Headers = []
        self._target: list[bytes] = []
        self._unreported = 0
        """Bytes since the last event."""
        self._inside = False
        """Whether the parser is in the middle of a message."""
        self._line_due = True
        """Whether the request line is incomplete."""
        self._left = 0
        """Bytes that have not arrived of a body with a known length."""
        self._last = False
        """Whether the current request is the connection's last one, as it says itself."""
        self._ended = False
        """Whether that request is complete; what follows it is not read."""
        self._repeated = False
        """Whether the parser reads the framing of a request again, see `_read_body`."""
        self._parser = HttpRequestParser(self)

    def feed(self, data: bytes) -> list[RequestEvent]:
        """The events that ``data`` completes. Raises MessageError; after that the connection is unusable."""
        if self._ended:
            return []
        if not self._inside and len(data) <= MAX_PLAIN:
            head = plain_request(data)
            if head is not None:
                return [head, _END]
        events: list[RequestEvent] = []
        self._events = events
        try:
            self._parse(data)
        except HttpParserError as problem:
            raise MessageError(f"not an HTTP/1.1 message: {problem}") from problem
        for event in events:
            if type(event) is RequestHead:
                _check_framing(event)
        # Bytes without an event belong to an unfinished head or to trailers, and stay in memory.
        self._unreported = 0 if events else self._unreported + len(data)
        if self._unreported > MAX_HEAD:
            raise MessageError(f"the headers exceed {MAX_HEAD} bytes", 431)
        return events

    def _parse(self, data: bytes) -> None:
        """Feed httptools: request lines separately, because non-ASCII bytes in them are encoded first."""
        at = 0
        while at < len(data) and not self._ended:
            line = self._line_due
            if line:
                end = data.find(b"\n", at) + 1 or len(data)
                # Browsers and curl may send raw UTF-8, which means the same in a URL when encoded.
                part = _NOT_ASCII.sub(_encoded, data[at:end])
            else:
                end = self._part_end(data, at)
                part = data[at:end] if at or end < len(data) else data
            try:
                self._parser.feed_data(part)
            except HttpParserUpgrade as switch:
                taken = switch.args[0]
                head = self._events[-2]
                if not _ignores_upgrade(head):
                    self._events.append(Switched(part[taken:] + data[end:]))
                    return
                head.upgrade = False
                if _has_body(head):
                    self._read_body(head)
                at += taken
                continue
            if line and self._inside:
                self._line_due = not part.endswith(b"\n")
            at = end

    def _read_body(self, head: RequestHead) -> None:
        """Have the parser read a body that it takes for bytes of another protocol: repeat its framing."""
        self._events.pop()  # the end of the request
        self._repeated, self._ended = True, False
        framing = [pair for pair in head.headers if pair[0].lower() in _FRAMING]
        self._parser.feed_data(request_head(b"POST", b"/", framing))
        self._line_due = False

    def _part_end(self, data: bytes, at: int) -> int:
        """The index where the message that contains ``at`` may end and another request line may begin."""
        if self._left:
            return min(at + self._left, len(data))
        if (near := data.find(b"\n", at, 3)) >= 0:
            return near + 1  # perhaps an empty line that began in the bytes before
        end = data.find(b"\r\n\r\n", max(0, at - 2))
        return len(data) if end < 0 else end + 4

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._inside = True
        self._target = []

    def on_url(self, part: bytes) -> None:
        """Called by the parser."""
        self._target.append(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser, which leaves whitespace behind a value."""
        self._headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        parser = self._parser
        if self._repeated:
            self._repeated = False
        else:
            keep_alive = parser.should_keep_alive()
            self._last = not keep_alive
            self._events.append(
                RequestHead(
                    parser.get_method(),
                    b"".join(self._target),
                    parser.get_http_version(),
                    self._headers,
                    keep_alive,
                    parser.should_upgrade(),
                )
            )
        self._left = next(
            (int(value) for name, value in self._headers if name.lower() == b"content-length"), 0
        )
        self._headers = []

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._left = max(0, self._left - len(body))
        self._events.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._inside = False
        self._line_due = True
        self._ended = self._last
        self._events.append(End(self._headers))
        self._headers = []


def _has_body(head: RequestHead) -> bool:
    framing = {name.lower(): value for name, value in head.headers}
    return b"transfer-encoding" in framing or int(framing.get(b"content-length", 0)) > 0


def _ignores_upgrade(head: RequestHead) -> bool:
    """Whether to go on with HTTP/1.1, as a server may (RFC 9110 section 7.8).

    Java's client asks for HTTP/2 with every request that it sends without TLS. And bytes after a request to
    switch protocols belong to the other protocol: a server that does not switch would read a body as the next
    request.
    """
    h2c = any(name.lower() == b"upgrade" and value.lower() == b"h2c" for name, value in head.headers)
    return head.method != b"CONNECT" and (h2c or _has_body(head))


def _check_framing(head: RequestHead) -> None:
    """Refuse a request whose end the next server may see elsewhere (RFC 9112 section 11.2, smuggling).

    Raises MessageError.
    """
    for name, value in head.headers:
        low = name.lower()
        if low == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise MessageError("chunked is the only Transfer-Encoding that is supported", 501)
        if low == b"transfer-encoding" and head.version == "1.0":
            raise MessageError("HTTP/1.0 has no Transfer-Encoding")
        if head.upgrade and (low == b"transfer-encoding" or (low == b"content-length" and int(value))):
            raise MessageError("a CONNECT request cannot have a body")


def chunk(data: list[bytes]) -> list[bytes]:
    """The data as one chunk of a chunked body; nothing when it is empty."""
    size = sum(map(len, data))
    return [b"%x\r\n" % size, *data, b"\r\n"] if size else []


def last_chunk(trailers: Headers) -> bytes:
    """The last chunk and the trailers of a chunked body."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n" + header_lines(trailers) + b"\r\n"
