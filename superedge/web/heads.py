"""What stands before a message's body: request line or status line, and headers. Pure. Source: RFC 9112."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

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

NOTED = frozenset(
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
"""What a proxy looks at beside those."""
_FRAMING = frozenset({b"content-length", b"host"})
"""What Connection may not take away: without it the next server would read another message."""
_PLAIN_CONNECTIONS = frozenset({b"keep-alive", b"close", b"upgrade"})


class Passing(NamedTuple):
    """What of a response goes on from a proxy: header lines as they stand on the wire.

    ``noted`` has by lower-case name the values that a proxy looks at, see `split_headers`.
    """

    lines: bytes
    noted: dict[bytes, bytes]


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
    """The whole request as it came, if it came in one piece, has no body and will likely come again."""


@dataclass(slots=True)
class ResponseHead:
    """A status line and its headers. ``bounded`` is false when the body ends with the connection."""

    status: int
    reason: bytes
    headers: Headers
    keep_alive: bool
    bounded: bool
    passing: Passing | None = field(default=None, compare=False, repr=False)
    """Set by who read it, where that comes with the reading; see `passed_on`."""

    def passed_on(self) -> Passing:
        """What of it goes on from a proxy."""
        if self.passing is None:
            headers, noted = split_headers(self.headers, HOP_BY_HOP)
            self.passing = Passing(header_lines(headers), noted)
        return self.passing


class OutgoingRequest:
    """A request to send, apart from its body. What it is on the wire is made once."""

    __slots__ = ("_head", "chunked", "has_body", "headers", "method", "target")

    def __init__(self, method: bytes, target: bytes, headers: Headers, has_body: bool) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.has_body = has_body
        self.chunked = has_body and not any(name.lower() == b"content-length" for name, _ in headers)
        """Whether HTTP/1.1 sends its body in chunks, for want of a length."""
        self._head = b""

    @property
    def head(self) -> bytes:
        """Its head in HTTP/1.1."""
        if not self._head:
            framing: Headers = [(b"Transfer-Encoding", b"chunked")] if self.chunked else []
            self._head = request_head(self.method, self.target, [*self.headers, *framing])
        return self._head


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
        if low in NOTED:
            noted[low] = noted[low] + b"," + pair[1] if low in noted else pair[1]
        kept.append(pair)
    connection = noted.get(b"connection")
    if connection is not None and connection.lower() not in _PLAIN_CONNECTIONS:
        tokens = {token.strip().lower() for token in connection.split(b",")} - _FRAMING
        kept = [pair for pair in kept if pair[0].lower() not in tokens]
    return kept, noted


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they stand on the wire."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


def response_head(status: int, reason: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A status line and headers, as they stand on the wire."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, header_lines(headers))


def request_head(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A request line and headers, as they stand on the wire."""
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, header_lines(headers))
