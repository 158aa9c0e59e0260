"""Heads of HTTP/1.1 messages: request line or status line, and headers. Pure. Source: RFC 9112."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}
"""The reason phrase of each status."""

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
"""Headers that concern one connection (RFC 9110 section 7.6.1)."""
SERVER_BOUND = HOP_BY_HOP | {b"host"}
"""Headers of a request that concern one connection or one server."""

INSPECTED = frozenset(
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
"""Headers that a proxy inspects and forwards."""
_FRAMING = frozenset({b"content-length", b"host"})
"""Headers that Connection may not remove: without them the next server would read another message."""
_PLAIN_CONNECTIONS = frozenset({b"keep-alive", b"close", b"upgrade"})


Forwarded = tuple[bytes, dict[bytes, bytes]]
"""What a proxy forwards of a head: the encoded header lines, and by lower-case name the values that it
inspects, see `split_headers`.
"""


@dataclass(slots=True)
class RequestHead:
    """A request line and its headers; ``upgrade`` when the client asks to switch protocols."""

    method: bytes
    target: bytes
    version: str
    headers: Headers
    keep_alive: bool
    upgrade: bool
    raw: bytes = field(default=b"", compare=False, repr=False)
    """The whole request as received, when it arrived at once, has no body and is likely to recur."""
    forwarded_head: Forwarded | None = field(default=None, compare=False, repr=False)
    """Set by the parser when it has it anyway, see `forwarded`."""

    def forwarded(self) -> Forwarded:
        """What a proxy forwards of it, without Host, which names this server."""
        if self.forwarded_head is None:
            self.forwarded_head = _forwarded(self.headers, SERVER_BOUND)
        return self.forwarded_head


@dataclass(slots=True)
class ResponseHead:
    """A status line, and encoded headers. Read-only: responses with the same head share it.

    ``bounded`` is false when the body ends with the connection (close-delimited).
    """

    status: int
    reason: bytes
    lines: bytes
    keep_alive: bool
    bounded: bool
    forwarded_head: Forwarded | None = field(default=None, compare=False, repr=False)
    """Set by the parser when it has it anyway, see `forwarded`."""

    @property
    def headers(self) -> Headers:
        return split_lines(self.lines)

    def forwarded(self) -> Forwarded:
        """What a proxy forwards of it."""
        if self.forwarded_head is None:
            self.forwarded_head = _forwarded(self.headers, HOP_BY_HOP)
        return self.forwarded_head


def _forwarded(headers: Headers, bound: frozenset[bytes]) -> Forwarded:
    kept, inspected = split_headers(headers, bound)
    return header_lines(kept), inspected


class OutgoingRequest:
    """The head of a request to send, for HTTP/1.1 or HTTP/2."""

    __slots__ = ("_lines", "chunked", "has_body", "head", "method", "target")

    def __init__(self, method: bytes, target: bytes, lines: bytes, has_body: bool, sized: bool) -> None:
        """``lines`` are its encoded headers; ``sized`` is whether they have the body's length."""
        self.method = method
        self.target = target
        self._lines = lines
        self.has_body = has_body
        self.chunked = has_body and not sized
        """Whether HTTP/1.1 sends its body chunked, because it has no length."""
        framing = b"Transfer-Encoding: chunked\r\n" if self.chunked else b""
        self.head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, target, lines, framing)
        """The head, encoded for HTTP/1.1."""

    @property
    def headers(self) -> Headers:
        """The headers, without those that HTTP/1.1 adds for a body."""
        return split_lines(self._lines)


def split_headers(headers: Headers, connection_bound: frozenset[bytes]) -> tuple[Headers, dict[bytes, bytes]]:
    """(headers to forward, values that a proxy inspects by lower-case name).

    The first lacks those in ``connection_bound`` and those that ``Connection`` names (RFC 9110 section
    7.6.1). In the second, the values of a repeated header are joined by commas.
    """
    kept: Headers = []
    inspected: dict[bytes, bytes] = {}
    for pair in headers:
        low = pair[0].lower()
        if low in connection_bound:
            inspected[low] = inspected[low] + b"," + pair[1] if low in inspected else pair[1]
            continue
        if low in INSPECTED:
            inspected[low] = inspected[low] + b"," + pair[1] if low in inspected else pair[1]
        kept.append(pair)
    connection = inspected.get(b"connection")
    if connection is not None and connection.lower() not in _PLAIN_CONNECTIONS:
        tokens = {token.strip().lower() for token in connection.split(b",")} - _FRAMING
        kept = [pair for pair in kept if pair[0].lower() not in tokens]
    return kept, inspected


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The headers encoded as lines."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


def split_lines(lines: bytes) -> Headers:
    """The reverse of `header_lines`."""
    pairs = [line.partition(b": ") for line in lines.split(b"\r\n")[:-1]]
    return [(name, value) for name, _, value in pairs]


RESPONSE_HEAD = b"HTTP/1.1 %d %b\r\n%b\r\n"
"""Format of an encoded head: status, reason, header lines."""


def response_head(status: int, reason: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An encoded status line and headers."""
    return RESPONSE_HEAD % (status, reason, header_lines(headers))


def request_head(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An encoded request line and headers."""
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, header_lines(headers))
