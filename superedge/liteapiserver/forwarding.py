"""A request's head as it goes to the cloud. Pure."""

from __future__ import annotations

from enum import Enum

from superedge.kube.media import without_cbor
from superedge.web.h1 import Headers, RequestHead, request_head


class Body(Enum):
    """What follows a request's head."""

    NONE = 0
    SIZED = 1
    CHUNKED = 2


def forwarded_head(
    head: RequestHead, headers: Headers, noted: dict[bytes, bytes], host: bytes
) -> tuple[bytes, Body]:
    """The bytes to send, and what follows them.

    ``headers`` and ``noted`` are the request's, as `split_headers` gives them; ``host`` is the cloud's name.
    """
    lines = [(b"Host", host), *headers]
    if b"cbor" in noted.get(b"accept", b"").lower():
        lines = [(name, without_cbor(value) if name.lower() == b"accept" else value) for name, value in lines]
    body = Body.NONE
    if head.upgrade:
        # Everything after the head goes through as it is once the server agrees.
        lines += [(b"Connection", b"Upgrade"), (b"Upgrade", noted.get(b"upgrade", b""))]
    elif b"transfer-encoding" in noted:
        body = Body.CHUNKED
        lines.append((b"Transfer-Encoding", b"chunked"))
    elif noted.get(b"content-length", b"0") != b"0":
        body = Body.SIZED
    return request_head(head.method, head.target, lines), body
