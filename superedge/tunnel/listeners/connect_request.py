"""The HTTP CONNECT request, as kube-apiserver's egress selector sends it. Pure.

Source: RFC 9110 section 9.3.6; k8s.io/apiserver pkg/server/egressselector.
"""

from __future__ import annotations

from superedge.config.addresses import TCPAddress, parse_address
from superedge.tunnel.listeners.refusals import BadRequest

MAX_HEAD = 16 * 1024
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ConnectReader:
    """Reads the request's head, and keeps the bytes behind it."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> tuple[TCPAddress, bytes] | None:
        """(target, bytes read past the head), or None while more is needed. Raises BadRequest."""
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            if len(self._buffer) > MAX_HEAD:
                raise BadRequest(400, "the request's head is too long")
            return None
        return parse_head(head), rest


def parse_head(head: bytes) -> TCPAddress:
    """The target of a CONNECT request. Raises BadRequest."""
    lines = head.split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadRequest(400, "the request line is not CONNECT host:port HTTP/1.1")
    if parts[0] != b"CONNECT":
        raise BadRequest(405, "only CONNECT is served here")
    if any(b":" not in line or line[:1] in b" \t" for line in lines[1:]):
        raise BadRequest(400, "a header line is malformed")
    try:
        target = parse_address(parts[1].decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        raise BadRequest(400, "the target is not host:port") from None
    if not isinstance(target, TCPAddress):
        raise BadRequest(400, "the target is not host:port")
    return target
