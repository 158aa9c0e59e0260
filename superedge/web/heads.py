"""What stands before a message's body: request line or status line, and headers. Pure. Source: RFC 9112."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

PHRASES = {int(status): status.phrase.encode() for status in HTTPStatus}
"""What HTTP/1.1 says beside a status."""

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
SERVER_BOUND = HOP_BY_HOP | {b"host"}
"""Headers of a request that are about one connection or one server."""

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


Passing = tuple[bytes, dict[bytes, bytes]]
"""What of a message goes on from a proxy: header lines as they stand on the wire; and by lower-case name the
values that a proxy looks at, see `split_headers`.
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
    """The whole request as it came, if it came in one piece, has no body and will likely come again."""
    passing: Passing | None = field(default=None, compare=False, repr=False)
    """Set by who read it, where that comes with the reading; see `passed_on`."""

    def passed_on(self) -> Passing:
        """What of it goes on from a proxy, without Host: the next server has a name of its own."""
        if self.passing is None:
            self.passing = _passing(self.headers, SERVER_BOUND)
        return self.passing


@dataclass(slots=True)
class ResponseHead:
    """A status line, and headers as they stand on the wire. Read-only: answers with the same head share it.

    ``bounded`` is false when the body ends with the connection.
    """

    status: int
    reason: bytes
    lines: bytes
    keep_alive: bool
    bounded: bool
    passing: Passing | None = field(default=None, compare=False, repr=False)
    """Set by who read it, where that comes with the reading; see `passed_on`."""

    @property
    def headers(self) -> Headers:
        """The headers."""
        return split_lines(self.lines)

    def passed_on(self) -> Passing:
        """What of it goes on from a proxy."""
        if self.passing is None:
            self.passing = _passing(self.headers, HOP_BY_HOP)
        return self.passing


def _passing(headers: Headers, bound: frozenset[bytes]) -> Passing:
    kept, noted = split_headers(headers, bound)
    return header_lines(kept), noted


class OutgoingRequest:
    """A request to send, apart from its body."""

    __slots__ = ("_lines", "chunked", "has_body", "head", "method", "target")

    def __init__(self, method: bytes, target: bytes, lines: bytes, has_body: bool, sized: bool) -> None:
        """``lines`` are its headers; ``sized`` is whether they tell the length of its body."""
        self.method = method
        self.target = target
        self._lines = lines
        self.has_body = has_body
        self.chunked = has_body and not sized
        """Whether HTTP/1.1 sends its body in chunks, for want of a length."""
        framing = b"Transfer-Encoding: chunked\r\n" if self.chunked else b""
        self.head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, target, lines, framing)
        """Its head in HTTP/1.1."""

    @property
    def headers(self) -> Headers:
        """Its headers, apart from those that HTTP/1.1 adds for a body."""
        return split_lines(self._lines)


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


def split_lines(lines: bytes) -> Headers:
    """Headers from what `header_lines` made of them."""
    pairs = [line.partition(b": ") for line in lines.split(b"\r\n")[:-1]]
    return [(name, value) for name, _, value in pairs]


RESPONSE_HEAD = b"HTTP/1.1 %d %b\r\n%b\r\n"
"""Status, reason and header lines as they stand on the wire."""


def response_head(status: int, reason: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A status line and headers, as they stand on the wire."""
    return RESPONSE_HEAD % (status, reason, header_lines(headers))


def request_head(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A request line and headers, as they stand on the wire."""
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, header_lines(headers))
