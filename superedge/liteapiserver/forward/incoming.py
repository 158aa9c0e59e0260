"""What a request's head says, and how the request goes on to the cloud. Pure."""

from __future__ import annotations

from superedge.kube.media import JSON, without_cbor
from superedge.kube.memo import memo
from superedge.kube.request import RequestInfo, parse_request
from superedge.liteapiserver.access.authrequests import is_question
from superedge.liteapiserver.access.caller import acting_as
from superedge.liteapiserver.access.presented import presented_token, without_front_proxy
from superedge.liteapiserver.forward.filters import Filters, takes_plain
from superedge.liteapiserver.upstream.patience import patience
from superedge.web.heads import OutgoingRequest, RequestHead, header_lines, split_lines

# How a filtered resource is asked for.
_PLAIN = JSON.encode()
_NEGOTIATION = frozenset({b"accept", b"accept-encoding"})
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Incoming:
    """A request as its head tells it. Read-only: requests with the same head may share it."""

    __slots__ = (
        "acceptable",
        "acting_as",
        "filtered",
        "info",
        "is_question",
        "outgoing",
        "patience",
        "repeatable",
        "shares",
        "token",
    )

    def __init__(self, head: RequestHead, host: bytes, filters: Filters, share_all: bool) -> None:
        """``host`` is the cloud's name; ``share_all`` whether not watches alone may share connections."""
        lines, noted = head.passed_on()
        accept = noted.get(b"accept", b"")
        lines, self.token, self.acting_as = _presented(
            lines, noted.get(b"upgrade", b"") if head.upgrade else b""
        )
        info = parse_request(head.method, head.target, accept)
        self.acceptable = True
        """Whether the client takes the form in which alone what is filtered is shown."""
        self.filtered = filters.active and filters.covers(info)
        if self.filtered:
            self.acceptable = takes_plain(info)
            if self.acceptable:
                info = parse_request(head.method, head.target, _PLAIN)
                lines = _in_plain_form(lines)
        elif b"cbor" in accept.lower():
            lines = _without_cbor(lines)
        self.info: RequestInfo = info
        self.patience = patience(info)
        """Seconds, see there."""
        self.is_question = is_question(info)
        self.outgoing = outgoing_request(head, b"Host: %b\r\n%b" % (host, lines), noted)
        """What is sent."""
        self.repeatable = head.method in _IDEMPOTENT and not self.outgoing.has_body
        """Whether it may be sent twice."""
        # A protocol that a request switches to needs a connection of its own.
        self.shares = (share_all or info.verb == "watch") and not (head.upgrade or info.opaque)
        """Whether it may share a connection with others."""


@memo(256)
def _presented(lines: bytes, upgrade: bytes) -> tuple[bytes, str | None, str]:
    """The headers to forward; and see `presented_token` and `acting_as`."""
    lines = without_front_proxy(lines)
    return lines, presented_token(lines, upgrade.lower() == b"websocket"), acting_as(lines)


def _in_plain_form(lines: bytes) -> bytes:
    kept = [pair for pair in split_lines(lines) if pair[0].lower() not in _NEGOTIATION]
    return header_lines([*kept, (b"Accept", _PLAIN)])


def _without_cbor(lines: bytes) -> bytes:
    return header_lines(
        (name, without_cbor(value) if name.lower() == b"accept" else value)
        for name, value in split_lines(lines)
    )


def outgoing_request(head: RequestHead, lines: bytes, noted: dict[bytes, bytes]) -> OutgoingRequest:
    """What to send with these headers; ``noted`` are the request's as `split_headers` gives them."""
    if head.upgrade:
        # Everything after the head goes through as it is once the server agrees.
        lines += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % noted.get(b"upgrade", b"")
        has_body = False
    else:
        has_body = b"transfer-encoding" in noted or noted.get(b"content-length", b"0") != b"0"
    return OutgoingRequest(head.method, head.target, lines, has_body, b"content-length" in noted)
