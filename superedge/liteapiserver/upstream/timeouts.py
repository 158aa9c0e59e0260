"""How long a request may stay without a response before its connection is given up. Pure."""

from __future__ import annotations

from superedge.kube.request import RequestInfo

GET_TIMEOUT = 5.0
"""Seconds for a get, and for a Lease's renewal, whose client gives up after 10 s."""
LIST_TIMEOUT = 30.0
"""Seconds for a list, which may take the API server long to collect."""
WRITE_TIMEOUT = 65.0
"""Seconds for another write: webhooks may take 30 s each, and the API server ends a request after 60 s."""


def response_timeout(info: RequestInfo) -> float | None:
    """Seconds without a response after which the connection is given up, if new connections work.

    None for requests without a limit: watches, and streams such as logs.
    """
    if info.verb == "watch" or (info.is_resource and info.subresource not in ("", "status", "scale")):
        return None
    if info.verb == "list":
        return LIST_TIMEOUT
    return GET_TIMEOUT if info.is_read or info.resource == "leases" else WRITE_TIMEOUT
