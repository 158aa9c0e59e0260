"""Whether an answer is an API server's: load balancers and captive portals answer in its place. Pure."""

from __future__ import annotations

from enum import Enum

from superedge.kube.request import RequestInfo
from superedge.kube.status import is_status
from superedge.liteapiserver.access.authrequests import MAX_BODY
from superedge.web.heads import ResponseHead

BALANCER = frozenset({502, 503, 504})
"""What a load balancer says when no API server answers it; an API server may say it, too."""

_STATUS_TYPES = (b"application/json", b"application/vnd.kubernetes.protobuf")
# What a captive portal says; an API server has no reason to.
_ELSEWHERE = frozenset({301, 302, 303, 307, 308, 511})


class Origin(Enum):
    """Who answered, as far as a response's head tells."""

    API_SERVER = 0
    STRANGER = 1
    DOUBTFUL = 2
    """The body tells, see `DoubtfulAnswer`."""


def origin(request: RequestInfo, status: int, noted: dict[bytes, bytes]) -> Origin:
    """Who answered; ``noted`` are the response's headers as `split_headers` gives them."""
    content_type = noted.get(b"content-type", b"")
    if b"audit-id" in noted or (status not in BALANCER and not _is_strange(request, status, content_type)):
        return Origin.API_SERVER
    # An API server without audit says so in its body.
    return Origin.DOUBTFUL if content_type.startswith(_STATUS_TYPES) else Origin.STRANGER


def _is_strange(request: RequestInfo, status: int, content_type: bytes) -> bool:
    """Whether it answers for an object what no API server does: a page, or the way to another server."""
    if not request.is_resource or request.subresource or request.verb == "proxy":
        return False
    return status in _ELSEWHERE or content_type.startswith(b"text/html")


class DoubtfulAnswer:
    """An answer that is held back until its body tells whose it is."""

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.pieces: list[bytes] = []
        self._size = 0

    def data(self, pieces: list[bytes]) -> bool:
        """Take some of the body; whether it is longer than any Status."""
        self.pieces += pieces
        self._size += sum(map(len, pieces))
        return self._size > MAX_BODY

    @property
    def is_genuine(self) -> bool:
        """Whether the body is a Status, which an API server makes."""
        return is_status(b"".join(self.pieces))
