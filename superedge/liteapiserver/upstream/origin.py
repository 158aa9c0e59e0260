"""Whether a response is from an API server, or from a load balancer or captive portal before it. Pure."""

from __future__ import annotations

from enum import Enum

from superedge.kube.request import RequestInfo
from superedge.kube.status import is_status
from superedge.liteapiserver.access.authrequests import MAX_BODY
from superedge.web.heads import ResponseHead

BALANCER = frozenset({502, 503, 504})
"""Statuses of a load balancer that reaches no API server; an API server may send them, too."""

_STATUS_TYPES = (b"application/json", b"application/vnd.kubernetes.protobuf")
# Statuses of a captive portal that an API server does not send.
_PORTAL_STATUSES = frozenset({301, 302, 303, 307, 308, 511})


class Origin(Enum):
    """What the head of a response shows about its sender."""

    API_SERVER = 0
    NOT_API_SERVER = 1
    UNDECIDED = 2
    """The body decides, see `UndecidedResponse`."""


def origin(request: RequestInfo, status: int, noted: dict[bytes, bytes]) -> Origin:
    """The sender of a response; ``noted`` are its headers as `split_headers` gives them."""
    content_type = noted.get(b"content-type", b"")
    if b"audit-id" in noted or (
        status not in BALANCER and not _is_portal_page(request, status, content_type)
    ):
        return Origin.API_SERVER
    # An API server whose audit is off has no Audit-Id; its errors have a Status as body.
    return Origin.UNDECIDED if content_type.startswith(_STATUS_TYPES) else Origin.NOT_API_SERVER


def _is_portal_page(request: RequestInfo, status: int, content_type: bytes) -> bool:
    """Whether a request for an object got an HTML page or a redirect, which no API server sends."""
    if not request.is_resource or request.subresource or request.verb == "proxy":
        return False
    return status in _PORTAL_STATUSES or content_type.startswith(b"text/html")


class UndecidedResponse:
    """A response that is held back until its body shows its sender."""

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.chunks: list[bytes] = []
        self._size = 0

    def data(self, chunks: list[bytes]) -> bool:
        """Take some of the body; True once it is longer than any Status."""
        self.chunks += chunks
        self._size += sum(map(len, chunks))
        return self._size > MAX_BODY

    @property
    def is_status(self) -> bool:
        """Whether the body is a Status, and so from an API server."""
        return is_status(b"".join(self.chunks))
