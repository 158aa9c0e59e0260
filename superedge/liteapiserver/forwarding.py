"""A request's headers as they go to the cloud. Pure."""

from __future__ import annotations

from superedge.kube.media import without_cbor
from superedge.web.h1 import Headers, RequestHead


def forwarded_headers(
    head: RequestHead, headers: Headers, noted: dict[bytes, bytes], host: bytes
) -> tuple[Headers, bool]:
    """What to send, and whether a body follows; how that is framed is up to the connection.

    ``headers`` and ``noted`` are the request's, as `split_headers` gives them; ``host`` is the cloud's name.
    """
    lines = [(b"Host", host), *headers]
    if b"cbor" in noted.get(b"accept", b"").lower():
        lines = [(name, without_cbor(value) if name.lower() == b"accept" else value) for name, value in lines]
    if head.upgrade:
        # Everything after the head goes through as it is once the server agrees.
        lines += [(b"Connection", b"Upgrade"), (b"Upgrade", noted.get(b"upgrade", b""))]
        return lines, False
    return lines, b"transfer-encoding" in noted or noted.get(b"content-length", b"0") != b"0"
