"""HTTP responses to callers whose stream could not be opened. Pure."""

from __future__ import annotations

from superedge.errors import SuperEdgeError
from superedge.tunnel.errors import DialCode

STATUS: dict[DialCode, int] = {
    "denied": 403,
    "refused": 502,
    "unresolvable": 502,
    "internal": 502,
    "not-connected": 503,
    "limit": 503,
    "timeout": 504,
}
"""The HTTP status for each dial error."""


class BadRequest(SuperEdgeError):
    """The request is invalid; ``status`` is the response's."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def refusal(status: int, reason: str) -> bytes:
    """A complete response whose reason phrase gives the cause."""
    phrase = "".join(char if " " <= char < "\x7f" else " " for char in reason)[:300]
    return f"HTTP/1.1 {status} {phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
