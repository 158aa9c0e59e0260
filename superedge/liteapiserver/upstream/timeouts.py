"""How long a request may stay without a response before its connection is given up. Pure."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from superedge.kube.request import RequestInfo

GET_TIMEOUT = 5.0
"""Seconds for a get, and for a Lease's renewal, whose client gives up after 10 s."""
LIST_TIMEOUT = 30.0
"""Seconds for a list, which may take the API server long to collect."""
WRITE_TIMEOUT = 65.0
"""Seconds for another write: webhooks may take 30 s each, and the API server ends a request after 60 s."""
KEPT_TIMEOUT = 5.0
"""Seconds for a read over a connection that was kept. A balancer may hold it open whose server is gone, and
acknowledge all that is sent; the read is sent once more, over a new connection."""


class ResponseTimeout(NamedTuple):
    """Seconds without a response after which the connection is given up, if new connections work."""

    new: float
    """Over a connection that was made for the request."""
    kept: float
    """Over one that has had responses before, for a request that may be sent a second time."""


def response_timeout(info: RequestInfo) -> ResponseTimeout:
    """The limits of a request. Streams such as logs have none, nor have watches over a new connection."""
    if info.is_resource and info.subresource not in ("", "status", "scale"):
        return ResponseTimeout(inf, inf)
    if info.verb == "watch":
        return ResponseTimeout(inf, KEPT_TIMEOUT)
    if info.verb == "list":
        return ResponseTimeout(LIST_TIMEOUT, KEPT_TIMEOUT)
    limit = GET_TIMEOUT if info.is_read or info.resource == "leases" else WRITE_TIMEOUT
    return ResponseTimeout(limit, limit)
