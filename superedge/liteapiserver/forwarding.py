"""What a request's head says, and how the request goes on to the cloud. Pure."""

from __future__ import annotations

from superedge.kube.media import JSON, without_cbor
from superedge.kube.request import RequestInfo, parse_request
from superedge.liteapiserver.filters import Filters, takes_plain
from superedge.liteapiserver.questions import is_question
from superedge.web.heads import HOP_BY_HOP, Headers, OutgoingRequest, RequestHead, split_headers

# The cloud's own name takes the place of ours.
_DROPPED = HOP_BY_HOP | {b"host"}
# How a filtered resource is asked for.
_PLAIN = JSON.encode()
_NEGOTIATION = frozenset({b"accept", b"accept-encoding"})
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Incoming:
    """A request as its head tells it. Read-only: requests with the same head may share it."""

    __slots__ = (
        "acceptable",
        "authorization",
        "filtered",
        "info",
        "is_question",
        "outgoing",
        "repeatable",
        "shares",
    )

    def __init__(self, head: RequestHead, host: bytes, filters: Filters, share_all: bool) -> None:
        """``host`` is the cloud's name; ``share_all`` whether not watches alone may share connections."""
        headers, noted = split_headers(head.headers, _DROPPED)
        self.authorization = noted.get(b"authorization", b"")
        info = parse_request(head.method, head.target, noted.get(b"accept", b""))
        self.acceptable = True
        """Whether the client takes the form in which alone what is filtered is shown."""
        self.filtered = filters.active and filters.covers(info)
        if self.filtered:
            self.acceptable = takes_plain(info)
            if self.acceptable:
                info = parse_request(head.method, head.target, _PLAIN)
                headers = [pair for pair in headers if pair[0].lower() not in _NEGOTIATION]
                headers.append((b"Accept", _PLAIN))
        self.info: RequestInfo = info
        self.is_question = is_question(info)
        self.outgoing = outgoing_request(head, headers, noted, host)
        """What is sent."""
        self.repeatable = head.method in _IDEMPOTENT and not self.outgoing.has_body
        """Whether it may be sent twice."""
        # A protocol that a request switches to needs a connection of its own.
        self.shares = (share_all or info.verb == "watch") and not head.upgrade
        """Whether it may share a connection with others."""


def outgoing_request(
    head: RequestHead, headers: Headers, noted: dict[bytes, bytes], host: bytes
) -> OutgoingRequest:
    """What to send; ``headers`` and ``noted`` are the request's, as `split_headers` gives them."""
    lines = [(b"Host", host), *headers]
    if b"cbor" in noted.get(b"accept", b"").lower():
        lines = [(name, without_cbor(value) if name.lower() == b"accept" else value) for name, value in lines]
    if head.upgrade:
        # Everything after the head goes through as it is once the server agrees.
        lines += [(b"Connection", b"Upgrade"), (b"Upgrade", noted.get(b"upgrade", b""))]
        has_body = False
    else:
        has_body = b"transfer-encoding" in noted or noted.get(b"content-length", b"0") != b"0"
    return OutgoingRequest(head.method, head.target, lines, has_body)
