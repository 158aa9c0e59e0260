"""Reads a request's head, and makes the head that is sent to the cloud. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from superedge.kube.media import Representation, parse_media_type, without_cbor
from superedge.kube.memo import memo
from superedge.kube.request import RequestInfo, parse_request
from superedge.liteapiserver.access.authrequests import is_auth_request
from superedge.liteapiserver.access.bearer import bearer_token, without_front_proxy
from superedge.liteapiserver.access.caller import impersonation
from superedge.liteapiserver.forward.filters import Filters
from superedge.liteapiserver.upstream.timeouts import response_timeout
from superedge.web.heads import OutgoingRequest, RequestHead, header_lines, split_lines

_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class IncomingRequest:
    """A request's head, parsed. Immutable, since requests with the same head share it."""

    __slots__ = (
        "acceptable",
        "filtered",
        "impersonation",
        "info",
        "is_auth_request",
        "outgoing",
        "repeatable",
        "response_timeout",
        "shares",
        "token",
    )

    def __init__(self, head: RequestHead, host: bytes, filters: Filters, share_all: bool) -> None:
        """``host`` is the Host header for the cloud; ``share_all`` says whether requests other than watches
        may share connections.
        """
        lines, noted = head.forwarded()
        accept = noted.get(b"accept", b"")
        lines, self.token, self.impersonation = _presented(
            lines, noted.get(b"upgrade", b"") if head.upgrade else b""
        )
        info = parse_request(head.method, head.target, accept)
        self.acceptable = True
        """False when the client accepts no form in which a filtered resource is served."""
        self.filtered = False
        """Whether the response is to be filtered."""
        if filters.active and filters.of(info) is not None:
            forms = filters.forms(info)
            self.acceptable = bool(forms)
            if forms:
                self.filtered = not forms[0].kind
                wanted = _asked(accept, forms)
                info = parse_request(head.method, head.target, wanted)
                lines = _asking_for(lines, wanted, plain=self.filtered)
        elif b"cbor" in accept.lower():
            lines = _without_cbor(lines)
        self.info: RequestInfo = info
        self.is_auth_request = is_auth_request(info)
        self.response_timeout = response_timeout(info)
        """See `ResponseTimeout`."""
        self.outgoing = outgoing_request(head, b"Host: %b\r\n%b" % (host, lines), noted)
        """The request as it is sent to the cloud."""
        self.repeatable = head.method in _IDEMPOTENT and not self.outgoing.has_body
        """Whether it may be sent a second time."""
        # A request that switches protocols needs a connection of its own.
        self.shares = (share_all or info.verb == "watch") and not (head.upgrade or info.opaque)
        """Whether it may share a connection with other requests."""


@memo(256)
def _presented(lines: bytes, upgrade: bytes) -> tuple[bytes, str | None, str]:
    """The headers to forward, the result of `bearer_token`, and that of `impersonation`."""
    lines = without_front_proxy(lines)
    return lines, bearer_token(lines, upgrade.lower() == b"websocket"), impersonation(lines)


def _asked(accept: bytes, forms: Sequence[Representation]) -> bytes:
    """The Accept header for these of the client's representations."""
    if not forms[0].kind:
        return ",".join(each.content_type for each in forms).encode()
    clauses = accept.split(b",")  # as they are, since lists and objects have different ones
    return b",".join(each for each in clauses if parse_media_type(each.decode("latin-1")).kind)


def _asking_for(lines: bytes, accept: bytes, plain: bool) -> bytes:
    """The headers with another Accept; ``plain`` for a body without Content-Encoding."""
    dropped = (b"accept", b"accept-encoding") if plain else (b"accept",)
    kept = [pair for pair in split_lines(lines) if pair[0].lower() not in dropped]
    return header_lines([*kept, (b"Accept", accept)])


def _without_cbor(lines: bytes) -> bytes:
    return header_lines(
        (name, without_cbor(value) if name.lower() == b"accept" else value)
        for name, value in split_lines(lines)
    )


def outgoing_request(head: RequestHead, lines: bytes, noted: dict[bytes, bytes]) -> OutgoingRequest:
    """A request with the headers ``lines``; ``noted`` are the original ones as `split_headers` gives them."""
    if head.upgrade:
        # Once the server agrees, everything after the head passes unchanged.
        lines += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % noted.get(b"upgrade", b"")
        has_body = False
    else:
        has_body = b"transfer-encoding" in noted or noted.get(b"content-length", b"0") != b"0"
    return OutgoingRequest(head.method, head.target, lines, has_body, b"content-length" in noted)
