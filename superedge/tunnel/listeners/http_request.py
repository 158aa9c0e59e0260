"""Which node an HTTP request is for, and the request as it is forwarded. Pure.

Sources: RFC 9112 sections 3.2 and 6, RFC 9110 sections 7.2 and 7.6.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from superedge.tunnel.listeners.refusals import BadRequest
from superedge.web.heads import HOP_BY_HOP, Headers, RequestHead, request_head, split_headers

_AUTHORITY = re.compile(rb"([A-Za-z0-9]([-A-Za-z0-9._]{0,252})?)(?::([0-9]{1,5}))?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)
_OURS = HOP_BY_HOP | {b"host", b"content-length"}
_VIA = (b"Via", b"1.1 superedge")


class Forwarded(NamedTuple):
    """A request to forward. ``port`` is the port that the caller named, or None."""

    host: str
    port: int | None
    head: bytes
    has_body: bool
    chunked: bool
    expects_continue: bool


def forwarded(head: RequestHead) -> Forwarded:
    """The request as the target gets it. Raises BadRequest.

    Hop-by-hop headers are removed. The body's length is written anew, exactly as this parser understood it,
    so that no server behind can find a different end (request smuggling).
    """
    if head.method == b"CONNECT":
        raise BadRequest(405, "CONNECT is not served here")
    if head.version not in ("1.0", "1.1"):
        raise BadRequest(505, f"HTTP/{head.version} is not served here")
    authority, target = _authority_and_target(head)
    match = _AUTHORITY.fullmatch(authority)
    if match is None or (match[3] is not None and not 0 < int(match[3]) < 65536):
        raise BadRequest(400, "the Host header, or the target's host, is not NODE or NODE:PORT")
    headers, noted = split_headers(head.headers, _OURS)
    lines: Headers = [(b"Host", authority), *headers, _VIA]
    encoding = noted.get(b"transfer-encoding")
    length = noted.get(b"content-length")
    if head.upgrade:
        lines += [(b"Connection", b"Upgrade"), (b"Upgrade", noted.get(b"upgrade", b""))]
    elif encoding is not None:
        lines.append((b"Transfer-Encoding", b"chunked"))
    elif length is not None:
        lines.append((b"Content-Length", length))
    return Forwarded(
        host=match[1].decode(),
        port=None if match[3] is None else int(match[3]),
        head=request_head(head.method, target, lines),
        has_body=encoding is not None or (length or b"0").strip(b"0") != b"",
        chunked=encoding is not None,
        expects_continue=noted.get(b"expect", b"").lower() == b"100-continue",
    )


def _authority_and_target(head: RequestHead) -> tuple[bytes, bytes]:
    """Host and port as the caller wrote them, and the request target in origin form."""
    hosts = [value for name, value in head.headers if name.lower() == b"host"]
    if len(hosts) > 1:
        raise BadRequest(400, "more than one Host header")
    absolute = _ABSOLUTE.fullmatch(head.target)
    if absolute is not None:  # its host takes precedence over the Host header
        rest = absolute[2]
        if not rest and head.method == b"OPTIONS":
            rest = b"*"
        return absolute[1], rest if rest[:1] in (b"/", b"*") else b"/" + rest
    if not hosts:
        raise BadRequest(400, "no Host header")
    if head.target[:1] != b"/" and head.target != b"*":
        raise BadRequest(400, "the request target is neither a path nor a URL")
    return hosts[0], head.target


def response_headers(headers: Headers) -> tuple[Headers, bool]:
    """The headers to pass to the caller, and whether the body's length is among them."""
    kept, noted = split_headers(headers, HOP_BY_HOP)
    return [*kept, _VIA], b"content-length" in noted
