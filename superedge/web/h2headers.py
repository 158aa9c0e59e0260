"""Converts between HTTP/2 header lists and HTTP/1.1 heads. Pure. Source: RFC 9113 section 8."""

from __future__ import annotations

import re

from hpack import Decoder, HeaderTuple, HPACKError, NeverIndexedHeaderTuple

from superedge.web.h1 import MAX_HEAD
from superedge.web.h2frames import Code, ConnectionFault, StreamFault
from superedge.web.heads import HOP_BY_HOP, PHRASES, Headers, ResponseHead, header_lines

MAX_CONTINUATIONS = 64
"""Maximum frames of one header block."""

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_FORBIDDEN = re.compile(rb"[\r\n\0]").search
_STATUS = re.compile(rb"[1-9][0-9][0-9]").fullmatch
_LENGTH = re.compile(rb"[0-9]{1,19}").fullmatch
_CONNECTION_SPECIFIC = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
# Never indexed, because several users share the compressor's table (RFC 7541 section 7.1.3).
_SECRET = frozenset({b"authorization", b"cookie"})


class HeaderReader:
    """Assembles header blocks from frames, and decodes them; ``flags`` are those of the HEADERS frame."""

    def __init__(self) -> None:
        self._decoder = Decoder(MAX_HEAD)
        self._parts: list[bytes] = []
        self._stream = 0
        self.open = False
        """Whether a block is incomplete."""
        self.flags = 0

    def begin(self, stream: int, flags: int) -> None:
        """Begin a block at a HEADERS frame, whose content goes to `add`."""
        self._stream, self.flags, self.open = stream, flags, True
        self._parts = []

    def add(self, stream: int, part: bytes, last: bool) -> Headers | None:
        """Add a frame's content. Returns the header list once complete. Raises ConnectionFault."""
        if not self.open or stream != self._stream:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a CONTINUATION frame without a HEADERS frame")
        parts = self._parts
        parts.append(part)
        if len(parts) > MAX_CONTINUATIONS or sum(map(len, parts)) > MAX_HEAD:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "a header block is too long")
        if not last:
            return None
        self.open = False
        try:
            fields = self._decoder.decode(b"".join(parts), raw=True)
        except (HPACKError, IndexError) as problem:
            raise ConnectionFault(Code.COMPRESSION_ERROR, f"headers cannot be read: {problem}") from problem
        return [(bytes(name), bytes(value)) for name, value in fields]


def request_headers(method: bytes, target: bytes, headers: Headers) -> list[HeaderTuple]:
    """The header list of a request line and headers; ``Host`` becomes ``:authority``."""
    authority = b""
    fields: list[HeaderTuple] = []
    for name, value in headers:
        low = name.lower()
        if low == b"host":
            authority = value
        elif low not in HOP_BY_HOP:
            fields.append((NeverIndexedHeaderTuple if low in _SECRET else HeaderTuple)(low, value.strip()))
    return [
        HeaderTuple(b":method", method),
        HeaderTuple(b":scheme", b"https"),
        HeaderTuple(b":authority", authority),
        HeaderTuple(b":path", target),
        *fields,
    ]


def trailer_headers(trailers: Headers) -> list[HeaderTuple]:
    """The header list of trailers."""
    return [HeaderTuple(name.lower(), value.strip()) for name, value in trailers]


def read_response(pairs: Headers) -> ResponseHead:
    """The head of a response. Raises StreamFault."""
    if not pairs or pairs[0][0] != b":status" or not _STATUS(pairs[0][1]):
        raise StreamFault(Code.PROTOCOL_ERROR, "a response without a valid :status")
    status = int(pairs[0][1])
    if status == 101:
        raise StreamFault(Code.PROTOCOL_ERROR, "a response with status 101, which HTTP/2 does not have")
    del pairs[0]
    _check(pairs)
    return ResponseHead(status, PHRASES.get(status, b""), header_lines(pairs), True, True)


def read_trailers(pairs: Headers) -> Headers:
    """The trailers of a response. Raises StreamFault."""
    _check(pairs)
    return pairs


def content_length(headers: Headers) -> int | None:
    """The content-length, if any. Raises StreamFault."""
    values = {value for name, value in headers if name == b"content-length"}
    if not values:
        return None
    value = values.pop()
    if values or not _LENGTH(value):
        raise StreamFault(Code.PROTOCOL_ERROR, "the content-length is not one number")
    return int(value)


def _check(pairs: Headers) -> None:
    # They become HTTP/1.1 headers, where a line end in a value would begin another header.
    for name, value in pairs:
        if not _NAME(name) or name in _CONNECTION_SPECIFIC:
            raise StreamFault(Code.PROTOCOL_ERROR, f"the header {name[:64]!r} is not allowed in HTTP/2")
        if _FORBIDDEN(value):
            raise StreamFault(Code.PROTOCOL_ERROR, f"the header {name[:64]!r} contains a line end")
