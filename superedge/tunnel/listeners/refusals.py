"""What callers are told in HTTP when there is no stream for them. Pure."""

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
"""The status for each cause."""


class BadRequest(SuperEdgeError):
    """A request that is not served; ``status`` is the answer's."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def refusal(status: int, reason: str) -> bytes:
    """A whole answer whose reason phrase carries the cause."""
    phrase = "".join(char if " " <= char < "\x7f" else " " for char in reason)[:300]
    return f"HTTP/1.1 {status} {phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
