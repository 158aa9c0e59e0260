"""HTTP/1.1 requests from bytes, read strictly, and messages to bytes. Pure.

A reader is fed what came in and returns events: a head, body pieces (bytes), an `End`, and for requests
that switch protocols `Switched` with what follows. Source: RFC 9112. Responses: `superedge.web.responses`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from superedge.web.errors import MessageError
from superedge.web.heads import Headers, RequestHead, header_lines
from superedge.web.plain import MAX_PLAIN, plain_request

MAX_HEAD = 128 * 1024
"""Bytes of request line and headers, or of trailers, that are taken."""


class End(NamedTuple):
    """The message is complete."""

    trailers: Headers


class Switched(NamedTuple):
    """What came after a request that switches protocols; from here on the reader reads no more."""

    rest: bytes


RequestEvent = RequestHead | bytes | End | Switched

_END = End([])


_NOT_ASCII = re.compile(rb"[\x80-\xff]")


def _encoded(byte: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(byte[0])


class RequestReader:
    """Reads requests, one after the other."""

    def __init__(self) -> None:
        self._events: list[Any] = []
        self._headers: Headers = []
        self._target: list[bytes] = []
        self._silent = 0
        self._inside = False
        """Whether the parser is in the middle of a message."""
        self._line_due = True
        """Whether the end of the request line is still to come."""
        self._left = 0
        """Bytes to come of a body of known length."""
        self._parser = HttpRequestParser(self)

    def feed(self, data: bytes) -> list[RequestEvent]:
        """The events that the bytes complete. Raises MessageError; then the connection is of no use."""
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
        # What brings no event is an unfinished head, or trailers: the parser and we keep it.
        self._silent = 0 if events else self._silent + len(data)
        if self._silent > MAX_HEAD:
            raise MessageError(f"headers of more than {MAX_HEAD} bytes", 431)
        return events

    def _parse(self, data: bytes) -> None:
        """Give the parser its bytes: request lines apart, since they are encoded."""
        at = 0
        while at < len(data):
            line = self._line_due
            if line:
                end = data.find(b"\n", at) + 1 or len(data)
                # Browsers and curl's users send UTF-8 as it is: in a URL it means the same when encoded.
                piece = _NOT_ASCII.sub(_encoded, data[at:end])
            else:
                end = self._part_end(data, at)
                piece = data[at:end] if at or end < len(data) else data
            try:
                self._parser.feed_data(piece)
            except HttpParserUpgrade as switch:
                self._events.append(Switched(piece[switch.args[0] :] + data[end:]))
                return
            if line and self._inside:
                self._line_due = not piece.endswith(b"\n")
            at = end

    def _part_end(self, data: bytes, at: int) -> int:
        """Where the message that ``at`` is in may end, and another request line begin."""
        if self._left:
            return min(at + self._left, len(data))
        if not at and (near := data.find(b"\n", 0, 3)) >= 0:
            return near + 1  # an empty line that began in the piece before
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
        """Called by the parser."""
        self._headers.append((name, value))

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
        self._events.append(End(self._headers))
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


def chunk(pieces: list[bytes]) -> list[bytes]:
    """The pieces as one chunk of a chunked body."""
    size = sum(map(len, pieces))
    return [b"%x\r\n" % size, *pieces, b"\r\n"] if size else []


def last_chunk(trailers: Headers) -> bytes:
    """The end of a chunked body."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n" + header_lines(trailers) + b"\r\n"
